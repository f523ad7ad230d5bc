"""How long the tests wait: httpx gives up after five seconds by itself, which a busy machine may take."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .harness import ROOT

CALLS = {"get", "post", "put", "delete", "head", "options", "request", "stream", "Client", "AsyncClient"}
FILES = [*Path(ROOT, "tests", "end_to_end").glob("*.py"), *Path(ROOT, "tests", "simulator_tests").glob("*.py")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_request_says_how_long_it_waits(file: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    of_httpx = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr in CALLS) == ("httpx", True)
    ]

    # `**` may bring a timeout along
    hasty = [call.lineno for call in of_httpx if not {"timeout", None} & {each.arg for each in call.keywords}]
    assert hasty == []
