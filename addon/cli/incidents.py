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
from ..values.decision import session_name
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
    wanted = [each for each in found if not arguments.id or _is_named(each, arguments.id)]
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
    whose = _victim_session(incident)
    of = f" of session {session_name(whose)}" if whose else ""
    session = f"session {session_name(str(incident.get('session') or '')) or 'none'}"
    return f"{at}  {incident.get('id', '')}  {session}  {where}  victim {victim}{of}  {', '.join(sorted(proofs))}"


def _is_named(incident: dict[str, Any], wanted: str) -> bool:
    """Whether *wanted* begins the id, the session, the victim or the session of the victim of *incident*."""
    told = (*(incident.get(name) for name in ("id", "session", "victim")), _victim_session(incident))
    return any(str(each or "").startswith(wanted) for each in told)


def _victim_session(incident: dict[str, Any]) -> str:
    findings = [each for each in incident.get("findings", []) if isinstance(each, dict)]
    named = (each.get("victim_session") for each in findings if each.get("victim") == incident.get("victim"))
    return next((str(each) for each in named if each), "")


def _shown(incident: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(incident), indent=2).decode()


def _export(wanted: list[dict[str, Any]], target: str) -> None:
    text = msgspec.json.format(msgspec.json.encode({"incidents": wanted}), indent=2).decode() + "\n"
    if target == "-":
        print(text, end="")
        return
    Path(target).write_text(text, encoding="utf-8")
    print(secret_patterns.covered(f"incidents written to {target}: {len(wanted)}"))
