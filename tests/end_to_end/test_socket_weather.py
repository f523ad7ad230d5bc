"""Clients on WebSockets in bad weather: a fault costs one error at most while another account is well."""

from __future__ import annotations

from pathlib import Path

from .socket_weather import KINDS, SCALE, errors, faults, run, seen, told, weather, wrong


def test_a_fault_costs_one_error_at_most(tmp_path: Path) -> None:
    """R35, R34, P6: of 25 kinds, each on an account that stays bad, with eleven others."""
    with weather(tmp_path) as found:
        turns = run(found, list(KINDS), SCALE, seed=1)
        log = found.running.log

    assert {turn.kind for turn in turns if turn.struck} == set(KINDS), told(turns)
    assert errors(turns) <= faults(turns), told(turns)
    assert not wrong(turns) and not seen(turns), [*wrong(turns), *seen(turns)]
    assert "Traceback" not in log and "failed: " not in log
