"""
The same case in other words: every id and text that the code has no word for is written with other letters.

Letters and digits are exchanged one for one, hexadecimal ones among themselves: what was equal stays equal, what
differed differs, and lengths and shapes stay.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from patchbay.identity import auxiliary_calls, normalise, turns

ADDON = Path(__file__).parent.parent.parent / "addon"
_RUN = re.compile(r"\\u[0-9a-fA-F]{4}|\\[a-z]|(?:[^\W_]|[\u0300-\u036f])+")  # JSON's escapes, and runs of letters
_WORD = re.compile(r"[A-Za-z]+")
_VERSION = re.compile(r"v\d+(?:alpha|beta)?\d*|v1internal")
_CLASSES = ("123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")
# What no client is free to choose: the words of a protocol, and who it says it is.
_FIXED = frozenset(("type", "role", "object", "user-agent", "authorization", "x-api-key", "x-goog-api-key", "api-key",
                    "chatgpt-account-id", "content-type", "mimeType", "media_type", "model"))  # fmt: skip
_UUID = "12345678-1234-1234-1234-123456789abc"  # in other words it is still one
_SPANS = (*(p for p in normalise.VOLATILE if not p.fullmatch(_UUID)), auxiliary_calls._TITLE, turns.BILLING)


class Renamer:
    """One way to write everything otherwise; equal *salt*, equal way."""

    def __init__(self, salt: int) -> None:
        random = Random(salt)
        self._table: dict[int, int] = {}
        for letters in _CLASSES:
            others = random.sample(letters, len(letters))
            self._table |= {ord(old): ord(new) for old, new in zip(letters, others, strict=True)}

    def case(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Return *case* in other words."""
        told = dict(case)
        told["requests"] = [self._request(request) for request in case["requests"]]
        if "responses" in case:
            told["responses"] = self.value(case["responses"])
        if isinstance(case["expect"], dict) and "value" in case["expect"]:
            told["expect"] = {**case["expect"], "value": self.text(case["expect"]["value"])}
        return told

    def _request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        path, mark, query = request["path"].partition("?")
        segments = [segment if _is_fixed(segment) else self.text(segment) for segment in path.split("/")]
        return {
            **{name: self.value(value, name) for name, value in request.items() if name != "method"},
            "method": request["method"],
            "path": "/".join(segments) + mark + query,
        }

    def value(self, value: Any, name: str = "") -> Any:
        """Return *value*, the member *name* of something, in other words."""
        if isinstance(value, dict):
            return {key: self.value(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, name) for inner in value]
        if isinstance(value, str) and name.lower() not in _FIXED:
            return self.text(value)
        return value

    def text(self, text: str) -> str:
        """Return *text* with every run of letters and digits exchanged but those the code knows."""
        spans = [match.span() for pattern in _SPANS for match in pattern.finditer(text)]

        def other(run: re.Match[str]) -> str:
            fixed = run[0].startswith("\\") or not run[0].isascii() or run[0].lower() in vocabulary()
            if fixed or any(start < run.end() and run.start() < end for start, end in spans):
                return run[0]
            return run[0].translate(self._table)

        return _RUN.sub(other, text)


def _is_fixed(segment: str) -> bool:
    return ":" in segment or bool(_VERSION.fullmatch(segment))


@cache
def vocabulary() -> frozenset[str]:
    """Return the words that stand in the code's own texts, docstrings aside: what it may look for."""
    texts = [text for file in (ADDON / "identity").glob("*.py") for text in _texts(file)]
    # a text with a blank in it is a provider's message there, which no request holds
    files = [file for file in (ADDON / "dialects").glob("*.py") if not file.stem.endswith("_transcript")]  # for readers
    texts += [text for file in files for text in _texts(file) if " " not in text]
    return frozenset(word.lower() for text in texts for word in _WORD.findall(text))


def _texts(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("ascii", "replace")
