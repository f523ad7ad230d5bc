"""An upstream quotes the key it got, in every way that came to mind: nothing of it gets anywhere."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import httpx

from .harness import Proxy, eventually, generic_config, proxy
from .quoting import SPELLINGS, WAYS, ask, payloads, quoting_upstream

ACCOUNTS = {f"account-{n}": f"sk-real-q{n:04}-Zx9_{n * 7919:08}-KeyOfThisAccount" for n in range(400)}
MORE = "failover: {attempts: 2}\n"


@cache
def common() -> dict[str, bytes]:
    """Return by its name, for each spelling, the longest run of bytes that all keys have, at the same place."""
    texts: dict[str, list[bytes]] = {}
    for key in ACCOUNTS.values():
        for name, text in spellings(key):
            texts.setdefault(name, []).append(text)
    return {name: _longest_run(of) for name, of in texts.items()}


def _longest_run(texts: list[bytes]) -> bytes:
    runs = [b""]
    for column in zip(*texts, strict=True):
        runs = [*runs, b""] if len(set(column)) > 1 else [*runs[:-1], runs[-1] + bytes(column[:1])]
    return max(runs, key=len)


@cache
def spellings(key: str) -> list[tuple[str, bytes]]:
    """Return by its name, for each spelling of *key*, the part that is like no other account's, in small letters."""
    spelled = [(name, spell(key)) for name, spell in SPELLINGS.items()]
    # without the ends that base64 shares with its neighbours
    return [(name, text[len(text) // 8 : -len(text) // 8].encode().lower()) for name, text in spelled]


def quoted(data: bytes, keys: set[str]) -> list[str]:
    """Return in which spelling which of *keys* stands in *data*, in small letters or large ones."""
    small = data.lower()
    assert keys <= set(ACCOUNTS.values())
    looked_for = {name for name, run in common().items() if run in small}  # without it no key is there
    if not looked_for:
        return []
    return [
        f"{name} of {key}" for key in keys for name, inner in spellings(key) if name in looked_for and inner in small
    ]


def exercise(running: Proxy, keys: set[str]) -> dict[str, list[str]]:
    """Ask in every way; return by way what of the keys came back."""
    found = {}
    for way in WAYS:
        answer = ask(running.port, way)
        assert answer.startswith(b"HTTP/1.1 "), (way, answer[:200])
        assert b"content-encoding" not in answer.partition(b"\r\n\r\n")[0].lower(), way
        told = answer + (payloads(answer) if way.startswith("socket") else b"")
        if wrong := quoted(told, keys):
            found[way] = wrong
    return found


def test_no_way_of_quoting_a_key_reaches_anything(tmp_path: Path) -> None:
    """R4, R28: at the client, in the log, the dump, the HAR, the journal and whatever else is written: 0 bytes."""
    har, dump = tmp_path / "all.har", tmp_path / "all.mitm"
    with quoting_upstream() as upstream:
        settings = generic_config(tmp_path, ACCOUNTS, more=MORE)
        with proxy(
            tmp_path, settings, "-v", "--set", "flow_detail=4", "-w", str(dump), "--set", f"hardump={har}",
            mode=f"reverse:{upstream.url}",
        ) as running:  # fmt: skip
            at_the_client = exercise(running, upstream.keys)
            running.interrupt()

    assert len(WAYS) > 100
    assert at_the_client == {}
    assert len(upstream.keys) > 50
    assert len(json.loads(har.read_text())["log"]["entries"]) > 100
    assert running.journal.count("\n") > 100
    assert b"removed-by-patchbay" in dump.read_bytes()
    assert "removed-by-patchbay" in running.log
    for file in (p for p in tmp_path.rglob("*") if p.is_file() and p.name != "config.yaml"):
        assert quoted(file.read_bytes(), upstream.keys) == [], file.name
    # mitmproxy itself cannot read HTTP/1 trailers, and says so
    assert running.log.count("Traceback") == running.log.count("NotImplementedError: HTTP trailers are not implemented")


def test_no_way_of_quoting_a_key_reaches_mitmweb(tmp_path: Path) -> None:
    """R4, R28: nor in what mitmweb tells of its flows, in any of its views."""
    seen: list[bytes] = []
    with quoting_upstream() as upstream:
        settings = generic_config(tmp_path, ACCOUNTS, more=MORE)
        with proxy(tmp_path, settings, mode=f"reverse:{upstream.url}", program="mitmweb") as running:
            assert exercise(running, upstream.keys) == {}
            web = f"http://127.0.0.1:{running.web_port}"
            auth = {"Authorization": "Bearer look"}
            with httpx.Client(trust_env=False, headers=auth, base_url=web, timeout=30) as looking:
                assert eventually(lambda: looking.get("/flows").status_code == 200)
                flows = looking.get("/flows")
                seen += [flows.content, looking.get("/flows/dump").content, looking.get("/events").content]
                for flow in flows.json():
                    part = "messages" if flow.get("websocket") else "response"
                    seen.append(looking.get(f"/flows/{flow['id']}/{part}/content/Auto.json").content)
                    if part == "response":
                        seen.append(looking.get(f"/flows/{flow['id']}/response/content.data").content)

    assert len(seen) > 200
    assert b"removed-by-patchbay" in b"".join(seen)
    assert quoted(b"\n".join(seen), upstream.keys) == []
