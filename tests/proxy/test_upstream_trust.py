"""The certificates by which a provider's server is trusted."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from patchbay.proxy import upstream_trust
from patchbay.proxy.upstream_trust import OWN, VARIABLES, trusted, write


def ca(file: Path) -> str:
    text = trustme.CA().cert_pem.bytes().decode().strip()
    file.write_text(f"# a CA\n{text}\n")
    return text


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system and certifi have one certificate each."""
    text = ca(tmp_path / "system.pem")
    monkeypatch.setattr(upstream_trust, "system", lambda: tmp_path / "system.pem")
    monkeypatch.setattr(upstream_trust, "certifi", lambda: tmp_path / "certifi.pem")
    return text


@pytest.mark.parametrize("name", VARIABLES)
def test_the_systems_certifis_and_those_of_a_variable_are_trusted(tmp_path: Path, system: str, name: str) -> None:
    certifi, company = ca(tmp_path / "certifi.pem"), ca(tmp_path / "company.pem")

    assert trusted(tmp_path, {name: str(tmp_path / "company.pem")}) == [certifi, system, company]
    assert trusted(tmp_path, {name: ""}) == trusted(tmp_path, {name: str(tmp_path / "gone.pem")}) == [certifi, system]


def test_mitmproxys_own_ca_is_trusted_for_no_provider(tmp_path: Path, system: str) -> None:
    """A shell that took over `patchbay env` has it in its variables, perhaps with other line breaks."""
    own = ca(tmp_path / OWN)
    content = own.splitlines()
    (tmp_path / "bundle.pem").write_text("\n".join([content[0], "".join(content[1:-1]), content[-1], system]))

    assert trusted(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "bundle.pem")}) == [system]


@pytest.mark.parametrize("text", ["AAAA", "A!", "", "\u00e9"])
def test_a_certificate_that_cannot_be_read_keeps_the_others(tmp_path: Path, system: str, text: str) -> None:
    (tmp_path / "odd.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")

    assert trusted(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "odd.pem")}) == [system]


def test_what_is_no_file_is_not_opened(tmp_path: Path, system: str) -> None:
    assert trusted(tmp_path, {"SSL_CERT_FILE": "/dev/zero", "NODE_EXTRA_CA_CERTS": str(tmp_path)}) == [system]


def test_another_proxy_with_other_variables_does_not_change_the_file(tmp_path: Path, system: str) -> None:
    company = ca(tmp_path / "company.pem")
    folder = tmp_path / "mitmproxy"
    first = write(folder, {"SSL_CERT_FILE": str(tmp_path / "company.pem")})
    second = write(folder, {})

    assert first != second and company in first.read_text() and company not in second.read_text()
    assert write(folder, {}) == second and len(list(folder.iterdir())) == 2
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(first)


def test_this_system_and_certifi_have_certificates() -> None:
    system, certifi = upstream_trust.system(), upstream_trust.certifi()

    assert system and certifi
    assert upstream_trust.certificates(system) and upstream_trust.certificates(certifi)
