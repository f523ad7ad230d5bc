"""`patchbay incidents`: the recorded answers that belonged to another request."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from .. import secret_patterns
from ..proxy.incident_files import FOLDER
from . import inputs
from .inputs import EXIT_FOUND, EXIT_USAGE, CommandError
from .terminal import visible


def incidents(arguments: argparse.Namespace) -> int:
    """List the incidents, newest last; with an id, print one; with --export, write them for a ticket."""
    folder = inputs.state_folder(inputs.settings(arguments)) / FOLDER
    if arguments.state and not folder.parent.is_dir():
        raise CommandError(f"there is no folder {arguments.state}")
    files = sorted(folder.glob("*.json"))
    found = [read for file in files if (read := _read(file)) is not None]
    code = EXIT_USAGE if len(found) < len(files) and not arguments.id else 0
    wanted = [each for each in found if not arguments.id or str(each.get("id", "")).startswith(arguments.id)]
    if arguments.id and not wanted:
        raise CommandError(f"no incident {arguments.id} in {folder}", EXIT_FOUND)
    if arguments.export:
        _export(wanted, arguments.export)
        return code
    for each in wanted:
        print(_shown(each) if arguments.id else visible(_line(each)))
    if not arguments.id:
        print(secret_patterns.covered(f"incidents in {folder}: {len(wanted)}"))
    return code


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        print(f"{file}: unreadable", file=sys.stderr)
        return None


def _line(incident: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(incident.get("time") or 0)))
    proofs = {finding.get("detector", "") for finding in incident.get("findings", []) if isinstance(finding, dict)}
    where = f"{incident.get('provider', '')} {incident.get('account', '')}".strip()
    victim = incident.get("victim") or "unknown"
    return f"{at}  {incident.get('id', '')}  {where}  victim {victim}  {', '.join(sorted(proofs))}"


def _shown(incident: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(incident), indent=2).decode()


def _export(wanted: list[dict[str, Any]], target: str) -> None:
    text = msgspec.json.format(msgspec.json.encode({"incidents": wanted}), indent=2).decode() + "\n"
    if target == "-":
        print(text, end="")
        return
    Path(target).write_text(text, encoding="utf-8")
    print(secret_patterns.covered(f"incidents written to {target}: {len(wanted)}"))
