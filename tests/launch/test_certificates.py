"""The file of certificates for programs behind the proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchbay.launch.certificates import write_bundle
from patchbay.proxy import upstream_trust


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "system.pem"
    file.write_text(f"# a root\n{pem('one')}\n{pem('two')}\n")
    monkeypatch.setattr(upstream_trust, "system", lambda: file)
    return file


def test_the_bundle_holds_the_systems_the_users_and_mitmproxys(tmp_path: Path, system: Path) -> None:
    (tmp_path / "corp.pem").write_text(f"{pem('corp')}\n{pem('one')}\n")
    (tmp_path / "own.pem").write_text(pem("own"))
    env = {"NODE_EXTRA_CA_CERTS": str(tmp_path / "corp.pem"), "SSL_CERT_FILE": str(tmp_path / "gone.pem")}
    bundle = write_bundle(tmp_path, tmp_path / "own.pem", env)

    assert bundle.read_text().replace("-----BEGIN", "|-----BEGIN").count("|") == 4
    assert all(pem(each) in bundle.read_text() for each in ("one", "two", "corp", "own"))
    assert [path.name for path in tmp_path.glob("ca-bundle*")] == ["ca-bundle.pem"]


def test_the_bundle_of_an_earlier_run_is_no_source(tmp_path: Path, system: Path) -> None:
    (tmp_path / "own.pem").write_text(pem("own"))
    first = write_bundle(tmp_path, tmp_path / "own.pem", {}).read_text()

    assert write_bundle(tmp_path, tmp_path / "own.pem", {"SSL_CERT_FILE": str(tmp_path / "ca-bundle.pem")}).read_text()
    assert sorted(first) == sorted((tmp_path / "ca-bundle.pem").read_text())
