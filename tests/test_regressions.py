"""Faults that were found from outside: each has a test whose docstring names it, so that none comes back unseen."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from .each_row import each_row

TESTS = Path(__file__).parent
# T: start, settings and promises. H: honest hosts that were accused. A: accounts and errors. P: pass-through.
# I: identity. C: cost. R: attacks.
FAULTS = {
    "T1": "a dependency that was not declared",
    "T2": "a traceback in a mitmproxy that lacks a package",
    "T3": "a WebSocket message whose rights were not checked",
    "T4": "rights that another spelling of a path evaded",
    "T5": "a model read from a part of the path that names none",
    "T6": "a key in a message about the settings",
    "T7": "a credential under another name in a flow, or at a provider",
    "T8": "shadow mode stored a key in the flow, and required accounts",
    "T9": "an account's header whose `env:` was sent literally",
    "T10": "explain named another account than the one that served",
    "T11": "a replay went to another account",
    "T12": "stored records shifted by a new kind of fact",
    "T13": "a verdict read back from a comment",
    "T14": "a model without a model id, not reported",
    "T15": "a CA whose key is public, not reported",
    "T16": "mistakes around the settings, not reported",
    "H1": "ids that one worker repeats, or that all workers share",
    "H2": "a tenant's name in all answers",
    "H3": "an id for each choice",
    "H4": "a server that always answers in another dialect",
    "H5": "a file that contains an HTTP head",
    "H6": "the host's own header in the place of ours",
    "H7": "an answer by a requested fallback",
    "H8": "one odd worker of eight",
    "H9": "an owner whose answer was blocked",
    "A1": "a refusal of one request that put the pool into cooldown",
    "A2": "a page of an intermediary taken for a refused key",
    "A3": "a conversation that an unavailable owner kept for ever",
    "A4": "a slow request that was sent twice",
    "A5": "an unreachable upstream reported as a rate limit",
    "A6": "a model that no account serves, reported as an overload",
    "A7": "an exhausted usage window, reported in a word that the tool does not know",
    "A8": "an overload under another status",
    "A9": "retry hints that were not read",
    "A10": "a success status without an answer",
    "A11": "a model in a form",
    "A12": "an entry of models with brackets in it",
    "A13": "a body with odd bytes that could not be spliced",
    "A14": "an account whose cooldown could not be ended",
    "A15": "a kept connection that closes under a request, and a second of waiting",
    "P1": "an address of the upstream's own in an answer",
    "P2": "a stream without the content type of one",
    "P3": "an interim head that was taken for the answer",
    "P4": "a base URL with a surplus ending",
    "P5": "a request in the form of another proxy mode",
    "P6": "a broken WebSocket that looked like a clean close",
    "P7": "an IPv6 address without its brackets",
    "P8": "a message thread sent to another account",
    "P9": "ids of the former account in a request to another one",
    "I1": "conversations that begin alike, on one account",
    "I2": "a compaction without an id that moved its conversation",
    "I3": "a windowed history that moved at every turn",
    "I4": "auxiliary calls that bound an account",
    "I5": "values that are no ids",
    "C1": "a turn at home that looked at every account",
    "R1": "a client's words that a provider quotes",
    "R2": "a small compressed answer that blocked all requests",
    "R3": "a start that clients could prevent",
    "R4": "a key that an upstream quotes",
    "R5": "a stored id of another client's",
    "R6": "hop-by-hop fields that went up",
    "R7": "a cooldown that a wrong clock made endless",
    "R8": "a momentary failure that cost ten minutes",
    "R9": "invalid answers counted as good",
    "R10": "an answer framed in two ways",
    "R11": "a stream without its end, counted as good",
    "R12": "a flood that filled the queue for others",
    "R13": "a bound on attempts below the size of the pool",
    "R14": "quick turns that moved between two instances",
    "R15": "a victim that another instance served, unnamed",
    "R16": "trailers that raised an exception",
    "R17": "keys that children inherited",
    "R18": "a secret file or state folder that check did not look at",
    "R19": "a deleted store file, not reported",
    "R20": "a head that never ends",
    "R21": "a client that got HTTP/1.1 before an upstream of HTTP/2",
    "R22": "tracebacks at the end, and a refused start that said too much",
    "R23": "running as root, not reported",
    "R24": "memory that was not given back",
    "R25": "gzip by its old name",
    "R26": "a clock that jumped, and answers that turned suspect",
    "R27": "a WebSocket message that was not held to what a request is",
    "R28": "a key in a close reason or a ping",
    "R29": "messages without a bound",
    "R30": "a silent HTTP/2 connection that was used for ever",
    "R31": "requests that hung on a connection that ended before its settings",
    "R32": "one end of one connection, counted for every stream",
    "R33": "accounts that shared a connection",
    "R34": "sockets that outlived what allowed them",
    "R35": "two or three errors for one fault on a socket",
    "R36": "an account that was blamed for a kept connection's end",
    "R37": "our own line, counted as the account's silence",
    "R38": "a key for a path that is no endpoint",
    "R39": "an answer without a bound, or one that ended in a page of mitmproxy's",
}


@cache
def named() -> set[str]:
    """Return what the docstrings of tests begin with."""
    found: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                head = re.match(r"\s*((?:[THAPICR]\d+[,: ]*(?:and )?)+)", ast.get_docstring(node) or "")
                found |= set(re.findall(r"[THAPICR]\d+", head[1])) if head else set()
    return found


@each_row("fault", FAULTS)
def test_a_fault_that_was_found_has_a_test_that_names_it(fault: str) -> None:
    assert fault in named(), FAULTS[fault]
