"""Faults that were found from outside: each has a test whose docstring names it, so that none comes back unseen."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# T: it starts and keeps its word. H: an honest host is never accused. R: it was attacked.
FAULTS = {
    "T1": "a dependency that was not declared",
    "T2": "a traceback in a mitmproxy that lacks a package",
    "T3": "a right that was not asked of a WebSocket's message",
    "T4": "a right that another spelling of a path walked around",
    "T5": "a model that was believed where the path does not mean it",
    "T6": "a key in a message about the settings",
    "T7": "a credential under another name in a flow, or at a provider",
    "T8": "a key in a flow of shadow, which asked for accounts as well",
    "T9": "a header of an account whose env: was sent as it stood",
    "T10": "explain told another account than the one that served",
    "T11": "a replay went to another account",
    "T12": "stored records shifted by a new kind of fact",
    "T13": "a verdict that was read back from a comment",
    "T14": "a model without a model id, without a word",
    "T15": "a CA whose key is public, without a word",
    "T16": "what is wrong around the settings, without a word",
    "H1": "ids of a worker, or one for all",
    "H2": "a tenant's name in all answers",
    "H3": "an id for each choice",
    "H4": "a server that always answers in another dialect",
    "H5": "a file that holds a head of HTTP",
    "H6": "a header of the host's own in the place of ours",
    "H7": "an answer by a fallback that was asked for",
    "H8": "one odd worker of eight",
    "H9": "an owner that lost its answer to blocking",
    "R1": "a client's words that a provider quotes",
    "R2": "a small packed answer that froze everybody",
    "R3": "a start that clients could prevent",
    "R4": "a key that an upstream quotes",
    "R5": "a stored id of another client's",
    "R6": "hop-by-hop fields that went up",
    "R17": "keys that children inherited",
    "R18": "a secret file or state folder that check did not look at",
    "R19": "a store whose file was deleted, without a word",
    "R23": "running as root, without a word",
    "R27": "a WebSocket message that was not held to what a request is",
    "R28": "a key in a close reason or a ping",
    "R29": "messages without a bound",
    "R38": "a key for a path that is no endpoint",
}


@cache
def named() -> set[str]:
    """Return what the docstrings of tests begin with."""
    found: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                head = re.match(r"\s*((?:[THR]\d+[,: ]*(?:and )?)+)", ast.get_docstring(node) or "")
                found |= set(re.findall(r"[THR]\d+", head[1])) if head else set()
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_was_found_has_a_test_that_names_it(fault: str) -> None:
    assert fault in named(), FAULTS[fault]
