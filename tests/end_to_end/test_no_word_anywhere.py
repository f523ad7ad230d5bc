"""No word of a prompt or an answer, nor a digest that it could be guessed from, is kept outside bodies of a dump."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from blake3 import blake3
from mitmproxy import http
from mitmproxy.io import FlowReader
from redis import Redis
from redis_server import MISSING, PROGRAM, redis_server

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .harness import Proxy, eventually, proxy

WARM = 9  # conversations before anything goes wrong
ALGORITHMS = (blake3, hashlib.sha256, hashlib.md5, hashlib.blake2b, hashlib.sha1)
KEPT = 8  # bytes of a digest, from which a text could be told
WORDS = re.compile(r"\w{5,}")
OURS = {b"Answer"}  # a word of an answer that our own lines have too


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


def settings(folder: Path, upstream: Simulator, store: str) -> str:
    names = {name: key for key, name in KEYS.items()}
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\nstore: {store}\n"
        f"providers:\n  anthropic: {{base_url: '{upstream.url}', attest: true}}\n"
        f"  openai: {{base_url: '{upstream.url}/v1', attest: true, echo: metadata}}\n"
        f"accounts:\n  - {{id: one, provider: anthropic, key: {names['one']}}}\n"
        f"  - {{id: two, provider: openai, key: {names['two']}}}\n"
    )


def secret(*parts: object) -> str:
    """Return a word that stands nowhere by chance."""
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    return "zq" + digest.translate(str.maketrans("0123456789", "ghijklmnop"))


class Talk:
    """A conversation of marked words at Anthropic or at OpenAI's Responses."""

    def __init__(self, running: Proxy, name: str, api: str) -> None:
        self._url, self._name, self._api = running.url, name, api
        self._system = f"Behave {secret(api, 'rules')} {secret(name, 'rules')}"
        self._turns: list[dict[str, Any]] = []
        self.texts: list[str] = [self._system]

    def turn(self, told: str) -> None:
        said = " ".join(secret(self._name, self._api, told, number) for number in range(40)) + " WORDS-60"
        self._turns.append({"role": "user", "content": said})
        self.texts.append(said)
        headers = {"x-told": told, "x-claude-code-session-id": f"talk-{secret(self._name)}"}
        if self._api == "anthropic":
            named: dict[str, Any] = {"max_tokens": 4096, "system": self._system, "messages": self._turns}
            path, headers["x-api-key"] = "/v1/messages", "sk-client-of-words"
            headers["anthropic-version"] = "2023-06-01"
        else:
            tool = {"type": "function", "name": secret(self._name, "tool"), "parameters": {"type": "object"}}
            named = {"instructions": self._system, "input": self._turns, "tools": [tool]}
            path, headers["authorization"] = "/v1/responses", "Bearer sk-client-of-words"
        body = {"model": "sim-1", **named}
        answer = httpx.post(self._url + path, json=body, headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        blocks = found["content"] if self._api == "anthropic" else found["output"][-1]["content"]
        heard = "".join(block["text"] for block in blocks)
        self._turns.append({"role": "assistant", "content": heard})
        self.texts.append(heard)


def talked(running: Proxy, silent: Simulator) -> list[str]:
    """Have conversations, some of which get each other's answers; return every text that was said."""
    silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
    talks = [Talk(running, f"warm {number}", api) for number in range(WARM) for api in ("anthropic", "responses")]
    for talk in talks:
        talk.turn("first")
        talk.turn("second")
    for api in ("anthropic", "responses"):
        pair = [Talk(running, name, api) for name in ("mine", "theirs")]
        talks += pair
        for talk in pair:
            talk.turn("first")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda talk: talk.turn("swapped"), pair))
        for talk in pair:
            talk.turn("after it")
    return [text for talk in talks for text in talk.texts]


def metadata(dump: Path) -> bytes:
    """Return what Patchbay wrote on the flows of *dump* beside their bodies, as text."""
    with dump.open("rb") as file:
        flows = [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    assert flows
    return "\n".join(repr((flow.metadata, flow.comment, flow.marked)) for flow in flows).encode()


def bodies(dump: Path) -> Iterator[bytes]:
    """Yield the bodies, and every part of their JSON as it was sent."""
    with dump.open("rb") as file:
        for flow in FlowReader(file).stream():
            assert isinstance(flow, http.HTTPFlow)
            for side in (flow.request, flow.response):
                raw = (side.content or b"") if side else b""
                yield raw
                for value in _inside(json.loads(raw)):
                    yield value.encode() if isinstance(value, str) else json.dumps(value).encode()
                    yield json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, str | dict | list) and len(value) > 0:
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inside(each)


def forms(text: bytes) -> Iterator[bytes]:
    """Yield the forms in which a digest of *text*, whole or cut, would begin."""
    for algorithm in ALGORITHMS:
        head = algorithm(text).digest()[: KEPT + 1]
        yield from (head[:KEPT], head[:KEPT].hex().encode())
        yield base64.b64encode(head)[:10]
        yield base64.urlsafe_b64encode(head)[:10]


def texts_of(said: list[str]) -> set[bytes]:
    """Return the texts, their words, and each two words in a row."""
    words = [WORDS.findall(text) for text in said]
    pairs = {" ".join(pair) for each in words for pair in pairwise(each)}
    return {text.encode() for text in {*said, *pairs, *(word for each in words for word in each)}}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_no_word_and_no_plain_digest_of_one_is_kept(tmp_path: Path, silent: Simulator, kind: str) -> None:
    if kind == "redis" and not PROGRAM:
        pytest.skip(MISSING)
    silent.reset()
    folder = tmp_path / "proxy"
    mode, dump = "reverse:http://patchbay.invalid", tmp_path / "flows.mitm"

    def ran(store: str) -> list[str]:
        with proxy(folder, settings(folder, silent, store), "-w", str(dump), mode=mode) as running:
            said = talked(running, silent)
            count = 4 * WARM + 12
            assert eventually(lambda: running.journal.count("\n") >= count)
            return said

    if kind == "sqlite":
        said, shared = ran("sqlite"), b""
    else:
        (tmp_path / "redis").mkdir()
        with redis_server(tmp_path / "redis") as server:
            said = ran(server.url)
            client = Redis.from_url(server.url)
            shared = b"\n".join(repr(_everything(client, key)).encode() + key for key in client.scan_iter())
            assert b":answered:" in shared  # what was asked, for the other instances
    kept = b"\n".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml")
    kept = b"\n".join((kept, shared, metadata(dump)))

    detectors = set(re.findall(r'"detector":"([\w-]+)"', kept.decode("latin-1")))
    assert {"next-turn", "settings", "tag"} <= detectors, detectors
    assert [*folder.rglob("*incident*")]
    words = set(re.findall(rb"\w{5,}", kept.lower()))
    assert not {text for text in texts_of(said) if text.lower() in words} - OURS
    assert not [text for text in texts_of(said) if b" " in text and text in kept]
    hashed = {text for text in texts_of(said) | set(bodies(dump)) if len(text) > 4}
    begun = {form: text[:80] for text in hashed for form in forms(text)}
    sizes = {len(form) for form in begun}
    assert not {begun[form] for size in sizes for at in range(len(kept)) if (form := kept[at : at + size]) in begun}


def _everything(client: Any, key: bytes) -> object:
    reads = {b"hash": client.hgetall, b"string": client.get, b"set": client.smembers}
    match client.type(key):
        case b"zset":
            return client.zrange(key, 0, -1)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"stream":
            return client.xrange(key)
        case kind:
            return reads[kind](key)
