"""The scenario scripts: against a provider that mixes answers up, bare and with Patchbay in front."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from scripts import scenarios

from ..simulator import simulator_thread
from .conftest import KEYS
from .harness import ROOT

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return how a scenario is run in this process: its exit code and what it printed."""

    def ran(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["scenarios", *arguments])
        return scenarios.main(), capsys.readouterr().out

    return ran


def counted(table: str) -> dict[str, Counter[str]]:
    """Return how many answers were own, mixed up, odd and failed: those that are streamed, and the others."""
    found: dict[str, Counter[str]] = {"streamed": Counter(), "whole": Counter()}
    for name, *numbers in re.findall(r"^  (\S.*?) +(\d+) +(\d+) +(\d+) +(\d+)$", table, re.MULTILINE):
        form = found["streamed" if name.endswith(", streamed") else "whole"]
        form.update(dict(zip(("own", "mixed", "odd", "failed"), map(int, numbers), strict=True)))
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("concurrent", "--requests", "8"),
        ("concurrent", "--requests", "8", "--dialect", "responses"),
        ("concurrent", "--requests", "8", "--dialect", "anthropic"),
        ("concurrent", "--requests", "8", "--dialect", "gemini"),
        ("team", "--team-size", "5", "--turns", "2"),
        ("models",),
    ],
    ids=lambda arguments: "-".join((arguments[0], *arguments[4:])),
)
def test_the_mixing_shows_without_patchbay_and_not_with_it(run: Run, arguments: tuple[str, ...]) -> None:
    code, printed = run(*arguments)

    assert code == 0, printed
    bare, fronted = printed.split("with Patchbay in front")
    assert "MIXED: " in bare
    assert "MIXED: " not in fronted and "0 mixed up; 0 calls failed" in fronted
    forms = ("whole",) if arguments[0] == "team" else ("whole", "streamed")  # its table is one of people
    for form in forms:
        assert counted(bare)[form]["mixed"] > 0
        own = counted(fronted)[form]
        assert own["own"] == own.total() > 0


def test_a_call_without_an_answer_is_a_failure_and_no_answer(run: Run) -> None:
    code, printed = run("team", "--team-size", "2", "--turns", "1", "--base-url", "http://127.0.0.1:1/v1")

    assert (code, printed.splitlines()[-1]) == (1, "  0 answers: 0 own, 0 mixed up; 2 calls failed")


def test_a_scenario_fails_against_a_provider_that_mixes_answers_up() -> None:
    command = [sys.executable, "-m", "scripts.scenarios", "concurrent", "--simulator", "bare", "--requests", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1
    assert "got the answer to" in done.stdout


def test_the_twelve_calls_are_made_and_one_that_fails_is_named(run: Run) -> None:
    with simulator_thread(KEYS) as provider:
        aim = ("rapid", "--base-url", f"{provider.url}/v1", "--api-key", next(iter(KEYS)), "--model", "sim-large")
        code, good = run(*aim)
        provider.fault("status", {"status": 500}, nth=3)
        bad_code, bad = run(*aim)

    assert code == 0, good
    assert "13/13 calls" in good
    sizes = [record.prompt_tokens for record in provider.truth.requests[:12]]
    # each call has marks of its own, which a real tokenizer counts a little differently each time
    assert sizes == pytest.approx([664, 2280, 3737, 1371, 1517, 4161, 1966, 1290, 1639, 2408, 2031, 714], rel=0.05)
    assert bad_code == 1
    assert "the first that failed is call 3" in bad
