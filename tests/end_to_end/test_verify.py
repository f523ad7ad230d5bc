"""A dump is judged again: by `patchbay verify` and by mitmdump itself, as it was judged while it passed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from ..simulator import simulator_thread
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import ROOT, certificates, ended, eventually, generic_config, proxy
from .test_websockets import CLIENT, ask, echoing, socket

NAMES = {name: key for key, name in KEYS.items()}
COUNT = 64


async def ask_all(url: str) -> None:
    """Ask in four dialects, streaming and not; some are swapped, spliced or repeated."""

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        kind, wrong = number // 2 % 8, {0: "swap", 4: "splice", 5: "repeat"}.get(number // 2 % 8, "")
        dialect, stream = DIALECTS[kind % 4], kind >= 4
        headers = credential(dialect, "sk-client") | ({"x-wrong": wrong} if wrong else {})
        asked = body(dialect, [f"question {number}"], stream=stream)
        await client.post(path(dialect, stream=stream), json=asked, headers=headers)

    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        await asyncio.gather(*(ask(client, number) for number in range(COUNT)))


@pytest.fixture(scope="module", params=["both", "none"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dump, the state and the journal of a day on which answers were mixed up."""
    folder = tmp_path_factory.mktemp(request.param)
    with simulator_thread(KEYS, echo=request.param) as provider:
        for fault in ("swap", "splice", "repeat"):
            settings = {} if fault == "repeat" else {"timeout": 2.0}
            provider.fault(fault, settings, when=lambda record, fault=fault: record.header("x-wrong") == fault)
        more = f"crosstalk: {{on_incident: [touch, '{folder / 'told'}']}}"
        settings_text = generic_config(folder, NAMES, more=more)
        dump = str(folder / "day.mitm")
        with proxy(folder, settings_text, "-w", dump, mode=f"reverse:{provider.url}") as running:
            asyncio.run(ask_all(running.url))
            assert eventually(lambda: running.journal.count("\n") == COUNT)
    return folder


def journal(folder: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return {line["request_id"]: line for line in lines if line["event_type"] != "account_change"}


def patchbay(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "patchbay.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_every_verdict_is_the_one_that_was_given(recorded: Path) -> None:
    said = journal(recorded)
    wrong = {line["request_id"] for line in said.values() if line["verdict"] == "crosstalk"}

    done = patchbay("verify", "--all", "--state", str(recorded / "state"), str(recorded / "day.mitm"))

    told = dict(line.split()[:2] for line in done.stdout.splitlines() if line.startswith("pb1-"))
    assert told == {request_id: line["verdict"] for request_id, line in said.items()}
    assert "judged live" not in done.stdout
    assert done.returncode == (1 if wrong else 0), done.stderr


def test_mitmdump_says_the_same_and_changes_nothing(recorded: Path) -> None:
    said = journal(recorded)
    told = read_again(recorded)

    for request_id, line in said.items():
        assert f"{request_id} {line['verdict']}" in told


def read_again(folder: Path) -> str:
    """Return what mitmdump logs when it reads the dump, with and without Patchbay; what it writes is the same."""
    for name, scripts in (("plain", []), ("judged", ["-s", str(ROOT / "addon" / "main.py")])):
        options = ["--set", f"confdir={certificates(folder)}", "--set", f"patchbay_config={folder / 'config.yaml'}"]
        command = ["-nr", str(folder / "day.mitm"), "-w", str(folder / name), *scripts]
        code, printed = ended(folder, *command, *(options if scripts else options[:2]))
        assert code == 0, printed
    assert (folder / "judged").read_bytes() == (folder / "plain").read_bytes()
    return printed


def test_an_incident_is_kept_told_and_can_be_shown(recorded: Path) -> None:
    wrong = {request_id for request_id, line in journal(recorded).items() if line["verdict"] == "crosstalk"}
    if not wrong:
        assert not (recorded / "state" / "incidents").exists()
        return

    listed = patchbay("incidents", "--state", str(recorded / "state"))
    assert {word for word in listed.stdout.split() if word.startswith("pb1-")} == wrong
    assert (recorded / "told").exists()
    one = min(wrong)
    shown = json.loads(patchbay("incidents", one[:20], "--state", str(recorded / "state")).stdout)
    assert (shown["id"], shown["verdict"]) == (one, "crosstalk")
    assert shown["around"]["noticed"]["released_bytes"] >= 0
    exported = patchbay("incidents", "--state", str(recorded / "state"), "--export", "-").stdout
    assert len(json.loads(exported)["incidents"]) == len(wrong)
    assert "question" not in exported
    assert not any(key in exported for key in KEYS)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (recorded / "state" / "incidents").iterdir())


def test_a_file_that_is_no_dump_is_said_to_be_none(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "x.mitm").write_text("no dump")

    done = patchbay("verify", "--state", str(recorded / "state"), str(tmp_path / "x.mitm"))

    assert (done.returncode, done.stdout) == (2, "")
    assert "x.mitm" in done.stderr


@pytest.mark.parametrize("more", ["", "crosstalk: {reaction: block}", "limits: {keep_streamed: 12KiB}", "mode: shadow"])
def test_every_exchange_of_a_websocket_is_judged_as_it_was(tmp_path: Path, more: str) -> None:
    """Answers that are late by one, repeated, of another socket, and right; some of them forgotten."""
    file = str(tmp_path / "day.mitm")
    with (
        simulator_thread({**KEYS, CLIENT: "shadow"}, echo="both") as provider,
        proxy(tmp_path, echoing(tmp_path, more), "-w", file, mode=f"reverse:{provider.url}") as running,
    ):
        for number, fault in enumerate(("", "stale", "repeat", "", "repeat")):
            if fault:
                provider.fault(fault, {}, method="POST")
            with socket(running, f"session-{number}") as opened, suppress(ConnectionClosed):
                for turn in range(3):
                    ask(opened, f"turn {turn} of {number} WORDS-30", prompt_cache_key=f"key-{number}-{turn}")
            provider.mend()
        assert eventually(lambda: running.journal.count('"event_type"') >= (12 if "block" in more else 20))
        running.interrupt()
    said = journal(tmp_path)

    done = patchbay("verify", "--all", "--state", str(tmp_path / "state"), file)

    told = dict(line.split()[:2] for line in done.stdout.splitlines() if line.startswith("pb1-"))
    assert told == {request_id: line["verdict"] for request_id, line in said.items()}
    assert "judged live" not in done.stdout
    assert len(said) >= 12
    verdicts = {str(line["verdict"]) for line in said.values()}
    # in shadow nothing of ours comes back, and after a few answers a host is not known well enough
    assert verdicts - {"clean"} == ({"unverifiable"} if "shadow" in more else {"crosstalk", "unverifiable"})
    assert ("clean" in verdicts) == ("shadow" not in more)  # where nothing of ours goes up, nothing comes back
    assert ("not stored whole" in done.stdout) == ("keep_streamed" in more)
    if not more:
        logged = read_again(tmp_path)
        assert all(f"{request_id} {line['verdict']}" in logged for request_id, line in said.items())
