"""What holds of clients behind a proxy that only looks: it records them, and keeps their own key nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import http, io

from patchbay.proxy import flow_metadata
from scripts.clients_recipes import KEY
from tests.simulator.truth import Record

DUMP, HAR = "flows.mitm", "flows.har"


def options(folder: Path) -> tuple[str, ...]:
    """Return mitmproxy's options for a proxy that only looks, and writes down all that it can."""
    return (
        "--set", "patchbay_look=true", "-v", "--set", "flow_detail=4", "--set", f"hardump={folder / HAR}",
        "-w", str(folder / DUMP),
    )  # fmt: skip


def checks(
    folder: Path, log: Path, marks: Sequence[str], sent: Sequence[Record], *, printed: bool, each_apart: bool = False
) -> dict[str, bool]:
    """
    Return what held of a client whose conversations hold *marks*, the first with two turns; *sent* went upstream.

    *each_apart*: each turn had a proxy of its own, which names sessions by a key of its own.
    """
    sessions = [[line["session"] for line in _lines(folder / DUMP, mark) if line["tokens"]] for mark in marks]
    first, *others = map(set, sessions)
    return {
        "together": len(first) == (2 if each_apart else 1) and len(sessions[0]) >= 2,
        "apart": all(other and not first & other for other in others),
        "stream": printed,
        "keys": _is_kept_nowhere(folder, log) and {record.credential for record in sent} == {KEY},
    }


def _is_kept_nowhere(folder: Path, log: Path) -> bool:
    own = (path for path in folder.rglob("homes/**/patchbay/**/*"))  # what Patchbay keeps under the home of a user
    printed = folder.rglob("homes/**/turn-*.txt")
    files = (path for path in (folder / DUMP, folder / HAR, log, *own, *printed) if path.is_file())
    return not any(KEY.encode() in path.read_bytes() for path in files)


def _lines(dump: Path, mark: str) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of streamed exchanges whose request holds *mark*, also of those on a WebSocket."""
    with dump.open("rb") as file:
        for flow in io.FlowReader(file).stream():
            if not isinstance(flow, http.HTTPFlow) or f"{flow_metadata.PREFIX}session" not in flow.metadata:
                continue
            said = [message.content for message in flow.websocket.messages] if flow.websocket else []
            if not any(mark.encode() in text for text in (flow.request.get_content(strict=False) or b"", *said)):
                continue
            line = {name.removeprefix(flow_metadata.PREFIX): value for name, value in flow.metadata.items()}
            yield from flow.metadata.get(flow_metadata.SOCKET_LINES, []) if flow.websocket else [line]
