"""Odd bodies that name a model which has another name upstream: changed in one place, for the account that has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import Simulator
from ..test_body import STRANGE
from .conftest import KEYS
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}


def settings(folder: Path) -> str:
    one, two = (f"provider: generic, base_url: reverse, key: {NAMES[name]}" for name in ("one", "two"))
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\naccounts:\n"
        f"  - {{id: one, {one}, models: {{aliases: {{old: new, 'x[1m]': 'y[1m]'}}, allow: [new, 'y[1m]']}}}}\n"
        f"  - {{id: two, {two}, models: [x1, y1, xm]}}\n"
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("bodies")
    with proxy(folder, settings(folder), mode=f"reverse:{simulator.url}") as found:
        yield found


@pytest.fixture(scope="module")
def renaming(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    """A proxy whose account serves every model, one of them under another name."""
    folder = tmp_path_factory.mktemp("renaming")
    config = generic_config(folder, {"one": NAMES["one"]}, account="models: {aliases: {old: new}}")
    with proxy(folder, config, mode=f"reverse:{simulator.url}") as found:
        yield found


def post(running: Proxy, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    sent = {"authorization": "Bearer sk-client-own", "content-type": "application/json", **headers}
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(f"{running.url}{path}", content=body, headers=sent)


@pytest.mark.parametrize("raw", STRANGE.values(), ids=STRANGE)
def test_a_strange_body_is_renamed_and_nothing_else_of_it(renaming: Proxy, simulator: Simulator, raw: bytes) -> None:
    """A13: what a strict reader refuses goes up all the same, changed in one place."""
    simulator.reset()
    answer = post(renaming, raw)

    assert answer.headers["x-patchbay-account"] == "one", answer.text
    assert simulator.truth.last().body == raw.replace(b'"old"', b'"new"')


@pytest.mark.parametrize(
    ("asked", "account", "sent"),
    [
        ("x[1m]", "one", "y[1m]"),
        ("y[1m]", "one", "y[1m]"),
        ("x1", "two", "x1"),
        ("y1", "two", "y1"),
        ("xm", "two", "xm"),
    ],
)
def test_a_name_with_brackets_is_itself(
    running: Proxy, simulator: Simulator, asked: str, account: str, sent: str
) -> None:
    """A12: an entry in the settings that equals the name, and no other name that its brackets could match."""
    simulator.reset()
    for _ in range(3):
        answer = post(running, b'{"model": "%s", "messages": [{"role": "user", "content": "x"}]}' % asked.encode())
        assert answer.headers["x-patchbay-account"] == account
        assert simulator.truth.last().model == sent


def form(model: str, size: int, *, first: bool) -> dict[str, Any]:
    """Return what makes a form with a file of *size* bytes and a model, which stands *first* or last."""
    file = ("file", ("a.mp3", b"\0\xff--\r\n" * (size // 6), "audio/mpeg"))
    fields = [("model", (None, model)), ("language", (None, "en"))]
    return {"files": [*fields, file] if first else [file, *reversed(fields)]}


@pytest.mark.parametrize("size", [600, 1_500_000], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False], ids=["model first", "model last"])
@pytest.mark.parametrize(
    ("asked", "account", "sent"), [("x[1m]", "one", "y[1m]"), ("old", "one", "new"), ("x1", "two", "x1")]
)
def test_a_form_s_model_picks_the_account_and_has_its_name_there(
    running: Proxy, simulator: Simulator, asked: str, account: str, sent: str, first: bool, size: int
) -> None:
    """A11: in a form as in JSON, also above a megabyte; the other parts stay as they are."""
    simulator.reset()
    with httpx.Client(trust_env=False, timeout=30) as client:
        request = client.build_request(
            "POST",
            f"{running.url}/v1/audio/transcriptions",
            headers={"authorization": "Bearer sk-client-own"},
            **form(asked, size, first=first),
        )
        body = request.read()
        client.send(request)

    record = simulator.truth.last()
    assert record.account == account
    assert record.body == body.replace(f"\r\n\r\n{asked}\r\n".encode(), f"\r\n\r\n{sent}\r\n".encode())
    assert record.header("content-length") == str(len(record.body))


def test_an_alias_is_renamed_in_a_form_where_every_account_serves_every_model(
    renaming: Proxy, simulator: Simulator
) -> None:
    """A11: nothing else asks for the form to be read."""
    for size in (600, 1_500_000):
        simulator.reset()
        url = f"{renaming.url}/v1/images/edits"
        httpx.post(url, trust_env=False, timeout=30, **form("old", size, first=True))
        assert b"\r\n\r\nnew\r\n" in simulator.truth.last().body
    simulator.reset()
    kind = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    post(renaming, b"a=%6D&model=old&b=", "/v1/images/generations", **kind)
    assert simulator.truth.last().body == b"a=%6D&model=new&b="
