"""Two conversations on WebSockets whose answers are exchanged: counted tokens and words name both, and prove it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from ..simulator import Simulator, simulator_thread
from ..simulator.play import Play
from ..simulator.reply import Usage, tokens
from .conftest import KEYS
from .harness import Proxy, eventually
from .test_late_verdicts import told
from .test_late_verdicts_openai import judged_again, running_before
from .test_websockets import ask, exchanges, socket

TALKS = {"long": 160, "short": 40, "third": 90, "fourth": 60}  # words of a turn
TURNS = 9  # of each, before anything goes wrong
WORDS = 30  # of the turn that goes wrong
LETTERS = "abcdefghijklmnopqrstuvwxyz"


async def _quoting(play: Play) -> None:
    """Let the model answer with words of the last turn, as models do."""
    if play.reply:
        text = " ".join(play.reply.asked.own[-1].split()[:16])
        usage = Usage(play.reply.usage.prompt, completion=tokens(text))
        play.reply = replace(play.reply, text=text, usage=usage)


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


class Talk:
    """One conversation on a WebSocket, in words of its own; each turn sends all of it."""

    def __init__(self, opened: ClientConnection, name: str) -> None:
        self._opened, self._name, self._random = opened, name, Random(name)
        self._turns: list[dict[str, Any]] = []

    def turn(self, words: int) -> str:
        text = " ".join("".join(self._random.choices(LETTERS, k=7)) for _ in range(words))
        self._turns.append({"role": "user", "content": text})
        [*_, last] = ask(self._opened, "", input=self._turns)
        said = str(last["response"]["output"][-1]["content"][0]["text"])
        self._turns.append({"role": "assistant", "content": said})
        return said


@contextmanager
def conversations(running: Proxy) -> Iterator[dict[str, Talk]]:
    """Open a socket for each conversation, and let all of them go on until the host is known."""
    with ExitStack() as stack:
        talks = {
            name: Talk(stack.enter_context(socket(running, f"0d0e1981-7f5a-4716-9257-4b6015da25d{number}")), name)
            for number, name in enumerate(TALKS)
        }
        for _ in range(TURNS):
            for name, talk in talks.items():
                talk.turn(TALKS[name])
        yield talks


def together(talks: dict[str, Talk]) -> list[str]:
    """Take a turn of both conversations at once; return what each was told."""
    with ThreadPoolExecutor(2) as both:
        return list(both.map(lambda name: talks[name].turn(WORDS), ("long", "short")))


def last_of(running: Proxy, count: int) -> dict[str, dict[str, Any]]:
    """Wait for *count* exchanges; return the last two by their sessions, with the last verdict on each."""
    assert eventually(lambda: len(exchanges(running)) == count)
    found = {line["exchange"]: line for line in exchanges(running)[-2:]}
    for change in told(running, "verdict_change"):
        found[change["exchange"]] |= {name: change[name] for name in ("verdict", "victim", "findings")}
    return found


def test_exchanged_answers_are_proved_by_lengths_and_words(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path) as running:
        silent.fault(_quoting, method="POST")
        with conversations(running) as talks:
            silent.fault("swap", {"timeout": 20}, method="POST")
            long, short = together(talks)
            found = last_of(running, len(TALKS) * TURNS + 2)
    words = {name: {str(each) for turn in talks[name]._turns for each in turn["content"].split()} for name in talks}
    assert set(long.split()) <= words["short"] and set(short.split()) <= words["long"]

    one, two = found.values()
    assert one["session"] != two["session"]
    assert (one["verdict"], two["verdict"]) == ("crosstalk", "crosstalk")
    assert (one["victim"], two["victim"]) == (two["exchange"], one["exchange"])
    for line in (one, two):
        strong = {each["detector"]: each["victim"] for each in line["findings"] if each["strength"] == "strong"}
        assert strong == dict.fromkeys(("prompt-length", "words"), line["victim"])
    others = [line for line in exchanges(running) if line["exchange"] not in found]
    assert {(line["verdict"], tuple(line["findings"])) for line in others} == {("unverifiable", ())}
    again = judged_again(tmp_path)
    assert "2 crosstalk" in again
    assert "judged live" not in again


def test_the_same_answers_that_are_not_exchanged_are_no_finding(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path) as running:
        silent.fault(_quoting, method="POST")
        with conversations(running) as talks:
            silent.fault("delay_head", {"seconds": 1}, method="POST")
            together(talks)
            found = last_of(running, len(TALKS) * TURNS + 2)

    assert {(line["verdict"], tuple(line["findings"])) for line in exchanges(running)} == {("unverifiable", ())}
    assert len(found) == 2 and not told(running, "verdict_change")


@pytest.mark.parametrize(("switched_off", "left"), [("prompt-length", "words"), ("words", "prompt-length")])
def test_either_by_itself_is_a_suspicion(tmp_path: Path, silent: Simulator, switched_off: str, left: str) -> None:
    with running_before(silent, tmp_path, f", disabled_detectors: [{switched_off}]") as running:
        silent.fault(_quoting, method="POST")
        with conversations(running) as talks:
            silent.fault("swap", {"timeout": 20}, method="POST")
            together(talks)
            found = last_of(running, len(TALKS) * TURNS + 2)

    for line in found.values():
        assert line["verdict"] == "suspect"
        assert [(each["detector"], each["victim"]) for each in line["findings"]] == [(left, line["victim"])]
    assert {line["victim"] for line in found.values()} == set(found)
