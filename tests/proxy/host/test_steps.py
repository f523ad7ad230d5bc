"""The faster ways are put on where mitmproxy is the one they were written for, and can be left off."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy.test import taddons

from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.host import steps

STEPS = {name: step for name, step in steps.STEPS.items() if step}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(steps.SWITCH, raising=False)
    monkeypatch.setattr(steps, "_told", set())
    before = _held()
    yield
    assert _held() == before


def _rows() -> list[tuple[str, Any, str, Any]]:
    return [(step, owner, name, by) for step, made in STEPS.items() for owner, name, by in made.replaced]


def _held() -> list[Any]:
    return [vars(owner).get(name) for _, owner, name, _ in _rows()]


def _on() -> set[str]:
    return {step for step, owner, name, by in _rows() if vars(owner).get(name) is by}


def test_every_step_is_written_for_this_mitmproxy() -> None:
    assert steps.STEPS.keys() == STEPS.keys()
    assert [name for name, step in STEPS.items() if step.digest() not in step.written_for] == []


def test_all_are_put_on_once_and_taken_off_with_the_last_user() -> None:
    first, second = steps.install(), steps.install()
    first()
    first()
    assert _on() == set(steps.STEPS)
    second()
    assert _on() == set()


@pytest.mark.parametrize("left_off", steps.STEPS)
def test_each_can_be_left_off(monkeypatch: pytest.MonkeyPatch, left_off: str) -> None:
    monkeypatch.setenv(steps.SWITCH, f" {left_off},")
    take_off = steps.install()
    assert _on() == set(steps.STEPS) - {left_off}
    take_off()


def test_all_can_be_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(steps.SWITCH, "all")
    take_off = steps.install()
    assert _on() == set()
    take_off()


def test_a_name_that_is_none_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(steps.SWITCH, "inline,typo")
    with pytest.raises(ValueError, match=r"PATCHBAY_STOCK names typo, and there are: all, dispatch"):
        steps.install()


def test_the_proxy_does_not_start_with_such_a_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(steps.SWITCH, "typo")
    with taddons.context(loadcore=False) as ctx:
        ctx.master.addons.add(Patchbay())

    assert "patchbay: PATCHBAY_STOCK names typo" in caplog.text


@pytest.mark.parametrize("changed", steps.STEPS)
def test_where_mitmproxy_changed_its_own_way_stays_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    owner, name, _ = STEPS[changed].replaced[0]

    def other(self: Any, *more: Any) -> None:
        pass

    with caplog.at_level(logging.INFO), monkeypatch.context() as patched:
        patched.setattr(owner, name, other)
        for _ in range(2):
            steps.install()()
            take_off = steps.install()
            assert changed not in _on()
            take_off()

    assert [record.getMessage() for record in caplog.records].count(
        f"mitmproxy is another than the one that the step {changed} was written for: its own way is used"
    ) == 1


def test_where_there_is_no_source_its_own_way_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(source: object) -> str:
        raise OSError("no source")

    monkeypatch.setattr("inspect.getsource", gone)
    take_off = steps.install()
    assert _on() == set()
    take_off()


@pytest.mark.parametrize("place", [("no_module", "DISPATCH"), ("hook_dispatch", "NO_STEP")])
def test_a_step_that_misses_a_name_of_mitmproxys_is_not_put_on(
    monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]
) -> None:
    monkeypatch.setattr(steps, "STEPS", {**steps.STEPS, "inline": steps._of(*place)})
    take_off = steps.install()
    assert _on() == set(STEPS) - {"inline"}
    take_off()
