"""Which release of Patchbay runs, and of what it runs in."""

from __future__ import annotations

import shlex
import tomllib
from importlib import metadata
from pathlib import Path

ADDON = Path(__file__).resolve().parent.parent
# How a user runs the command here, as a shell reads it.
CALLED = shlex.quote(str(ADDON.parent / "scripts" / "patchbay")) if ADDON.name == "addon" else "patchbay"


def version() -> str:
    """Return the version of this folder: of a checkout its own, whatever else is installed."""
    project = ADDON.parent / "pyproject.toml"
    if ADDON.name == "addon" and project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return installed("patchbay")


def installed(distribution: str) -> str:
    """Return the version of an installed *distribution*, `unknown` where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
