"""`patchbay incidents`: answers that belonged to another request, as they were kept in the state folder."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from .. import secret_patterns
from ..settings import reader
from .terminal import visible
from .verify import EXIT_USAGE, state_folder

EXIT_NONE = 1


def incidents(arguments: argparse.Namespace) -> int:
    """List what was kept, the newest last; with an id, show one; with --export, write them out for a ticket."""
    try:
        folder = state_folder(arguments) / "incidents"
        found = [read for file in sorted(folder.glob("*.json")) if (read := _read(file)) is not None]
    except (OSError, reader.ConfigError) as e:
        print(e, file=sys.stderr)
        return EXIT_USAGE
    wanted = [each for each in found if not arguments.id or str(each.get("id", "")).startswith(arguments.id)]
    if arguments.id and not wanted:
        print(f"no incident {arguments.id} in {folder}", file=sys.stderr)
        return EXIT_NONE
    if arguments.export:
        return _export(wanted, arguments.export)
    for each in wanted:
        print(_shown(each) if arguments.id else visible(_line(each)))
    if not arguments.id:
        print(secret_patterns.covered(f"{len(wanted)} incidents in {folder}"))
    return 0


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        print(f"{file}: cannot be read", file=sys.stderr)
        return None
    return found if isinstance(found, dict) else None


def _line(incident: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(incident.get("time") or 0)))
    proofs = {finding.get("detector", "") for finding in incident.get("findings", []) if isinstance(finding, dict)}
    where = f"{incident.get('provider', '')} {incident.get('account', '')}".strip()
    victim = incident.get("victim") or "unknown"
    return f"{at}  {incident.get('id', '')}  {where}  victim {victim}  {', '.join(sorted(proofs))}"


def _shown(incident: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(incident), indent=2).decode()


def _export(wanted: list[dict[str, Any]], target: str) -> int:
    text = msgspec.json.format(msgspec.json.encode({"incidents": wanted}), indent=2).decode() + "\n"
    if target == "-":
        print(text, end="")
        return 0
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as e:
        print(f"{target}: {e.strerror}", file=sys.stderr)
        return EXIT_USAGE
    print(secret_patterns.covered(f"{target}: {len(wanted)} incidents"))
    return 0
