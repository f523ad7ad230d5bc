"""The cases other systems were built on, in one neutral form. $PATCHBAY_SESSION_CASES names a file of further ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from patchbay.values.decision import Identity
from patchbay.values.http import Request

from ..each_row import each_row
from .renaming import Renamer
from .traffic import Teller, facts, request

CASES = Path(__file__).parent.parent / "data" / "session-cases.jsonl"


def _cases() -> list[dict[str, Any]]:
    files = [CASES, *map(Path, filter(None, [os.environ.get("PATCHBAY_SESSION_CASES")]))]
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line.strip()]


def _expanded(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$repeat"}:
            text, times = value["$repeat"]
            return text * times
        return {name: _expanded(inner) for name, inner in value.items()}
    return [_expanded(inner) for inner in value] if isinstance(value, list) else value


def _request(given: dict[str, Any]) -> Request:
    body = given["body_raw"] if "body_raw" in given else given.get("body")
    return request(given["path"], _expanded(body), given["headers"], method=given["method"])


def _identities(case: dict[str, Any]) -> list[tuple[Request, Identity, str]]:
    teller = Teller()
    answers = case.get("responses", [])
    told: list[tuple[Request, Identity, str]] = []
    for place, given in enumerate(case["requests"]):
        if case.get("mode") != "stateful":
            teller = Teller()
        asked = _request(given)
        identity = teller.identifier.identify(asked, float(place))
        account = min(identity.owner or [f"account-{place}"])
        told.append((asked, identity, account))
        answer = answers[place] if place < len(answers) else None
        teller.identifier.learn(asked, identity, account, facts(asked, answer), float(place))
    return told


def _value(level: str, asked: Request, identity: Identity, account: str) -> object:
    match level:
        case "owner":
            return identity.owner or frozenset([account])
        case "thread":
            return identity.thread
        case "binding":
            return (asked.endpoint.family, asked.client.scope, identity.affinity) if identity.affinity else ""
    return identity.affinity


@each_row("case", _cases())
def test_case(case: dict[str, Any]) -> None:
    _check(case)


@each_row("salt", [1, 2, 3])
@each_row("case", _cases())
def test_case_in_other_words(case: dict[str, Any], salt: int) -> None:
    """No case holds for its own sake: with every id and text exchanged, it is the same."""
    _check(Renamer(salt).case(case))


def _check(case: dict[str, Any]) -> None:
    told = _identities(case)
    expect, level = case["expect"], case.get("level", "affinity")
    values = [_value(level, *each) for each in told]
    if expect == "same":
        assert values[0]
        assert len(set(values)) == 1
    elif expect == "different":
        assert all(values)
        assert len(set(values)) == len(values)
    elif expect == "none":
        assert not any(values)
    else:
        for _, identity, _ in told:
            assert identity.tier == expect["tier"]
            assert identity.value == expect.get("value", identity.value)


def test_other_words_are_other_words() -> None:
    same = [case["id"] for case in _cases() if Renamer(1).case(case) == case]

    assert len(same) <= 12, same  # garbage has no words; `fallback` and `hello` (of a path) are those of a dialect


def test_every_case_is_run() -> None:
    assert len(_cases()) >= 115
