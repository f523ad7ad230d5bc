"""`patchbay incidents`: the recorded answers that belonged to another request."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from .. import secret_patterns
from ..proxy import incident_files
from ..proxy.incident_files import FOLDER
from ..visible_text import visible
from . import inputs
from .inputs import EXIT_FOUND, EXIT_USAGE, CommandError


def incidents(arguments: argparse.Namespace) -> int:
    """List the incidents, newest last; with an id, print one; with --export, write them for a ticket."""
    folder = inputs.state_folder(inputs.settings(arguments)) / FOLDER
    if arguments.state and not folder.parent.is_dir():
        raise CommandError(f"there is no folder {arguments.state}")
    files = sorted(folder.glob("*.json"))
    found = [read for file in files if (read := _read(file)) is not None]
    code = EXIT_USAGE if len(found) < len(files) and not arguments.id else 0
    wanted = [each for each in found if not arguments.id or _is_named(each, arguments.id)]
    if arguments.id and not wanted:
        raise CommandError(f"no incident {arguments.id} in {folder}", EXIT_FOUND)
    if arguments.export:
        _export(wanted, arguments.export)
        return code
    for each in wanted:
        print(_shown(each) if arguments.id else visible(incident_files.line(each)))
    if not arguments.id:
        print(secret_patterns.covered(f"incidents in {folder}: {len(wanted)}"))
    return code


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        print(f"{file}: unreadable", file=sys.stderr)
        return None


def _is_named(incident: dict[str, Any], wanted: str) -> bool:
    """Whether *wanted* begins the id, the session, the victim or the session of the victim of *incident*."""
    whose = incident_files.victim_session(incident)
    told = (*(incident.get(name) for name in ("id", "session", "victim")), whose)
    return any(str(each or "").startswith(wanted) for each in told)


def _shown(incident: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(incident), indent=2).decode()


def _export(wanted: list[dict[str, Any]], target: str) -> None:
    text = msgspec.json.format(msgspec.json.encode({"incidents": wanted}), indent=2).decode() + "\n"
    if target == "-":
        print(text, end="")
        return
    Path(target).write_text(text, encoding="utf-8")
    print(secret_patterns.covered(f"incidents written to {target}: {len(wanted)}"))
