from __future__ import annotations

from pathlib import Path

import pytest

from patchbay.proxy import release


def test_an_unknown_distribution_is_no_failure() -> None:
    assert release.installed("patchbay-of-nowhere") == "unknown"


def test_a_version_is_that_of_the_checkout_or_of_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    monkeypatch.setattr(release, "installed", lambda name: f"installed {name}")
    for folder, told in (("addon", "7.8.9"), ("patchbay", "installed patchbay")):
        monkeypatch.setattr(release, "ADDON", tmp_path / folder)
        assert release.version() == told
    monkeypatch.setattr(release, "ADDON", tmp_path / "nowhere" / "addon")
    assert release.version() == "installed patchbay"
