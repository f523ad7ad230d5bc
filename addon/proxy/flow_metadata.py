"""The names of what a flow keeps, and readers of the values: a dump may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mitmproxy import http

PREFIX = "patchbay."  # before the names of the journal's line, which stand on the flow as they are
ACCOUNT, CLIENT, REQUEST_ID = "patchbay.account", "patchbay.client", "patchbay.request_id"
VERDICT, VICTIM, ERROR = "patchbay.verdict", "patchbay.victim", "patchbay.error"
# beside the line: what the decision was made of
CANDIDATES, EVIDENCE = "patchbay.candidates", "patchbay.evidence"
# … and how the request differed on the wire from what its client sent; see `wire_edits`
EDITS = "patchbay.edits"
# for a replay: how the flow was served
SERVED = "patchbay.served"
# for another verdict: the records of its attempts, and what of the answer was stored
SENT, OWN_ANSWER, KEPT_BYTES = "patchbay.sent", "patchbay.own_answer", "patchbay.kept_bytes"
# of a WebSocket: lines of its exchanges, their records, and how many messages are no longer there
SOCKET_LINES, SOCKET_RECORDS, FORGOTTEN = "patchbay.exchanges", "patchbay.on_socket", "patchbay.forgotten"
# of a proof of crosstalk: when it was noticed, and whom the answer of this flow went to
NOTICED, LEAKED_TO = "patchbay.noticed", "patchbay.leaked_to"
# verdicts that changed after their exchange had ended: that of this flow, and those that its answer changed
AMENDED, AMENDS = "patchbay.amended", "patchbay.amends"

BESIDE_THE_LINE = frozenset(
    (SERVED, CANDIDATES, EVIDENCE, EDITS, SENT, OWN_ANSWER, KEPT_BYTES, SOCKET_LINES, SOCKET_RECORDS, FORGOTTEN,
     NOTICED, LEAKED_TO, AMENDED, AMENDS)
)  # fmt: skip


def records(found: object) -> list[dict[str, Any]]:
    """Return the objects of a list in the metadata, leaving out what Patchbay does not write there."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list | tuple) else []


def text(of: Mapping[str, Any], name: str) -> str:
    """Return the text *name* of *of*, empty where it holds none."""
    found = of.get(name)
    return found if isinstance(found, str) else ""


def forgotten(flow: http.HTTPFlow) -> int:
    """Return how many messages of the WebSocket *flow* are no longer kept with it."""
    found = flow.metadata.get(FORGOTTEN, 0)
    return found if isinstance(found, int) else 0
