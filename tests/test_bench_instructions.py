"""Instructions are held against budgets of one Python; what is above them fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import bench_instructions as bench


@pytest.fixture
def budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "budgets.json"
    path.write_text(json.dumps({"of": bench.of_this_python(), "budgets": {"2 kB": 1000, "refusal": 500}}))
    monkeypatch.setattr(bench, "BUDGETS", path)
    return path


def _counts(monkeypatch: pytest.MonkeyPatch, *runs: dict[str, float]) -> list[list[str]]:
    asked: list[list[str]] = []
    left = iter(runs)

    def measured(setup: str, names: list[str]) -> dict[str, float]:
        asked.append(names)
        return next(left)

    monkeypatch.setattr(bench, "measured", measured)
    return asked


@pytest.mark.parametrize(("count", "code"), [(1, 0), (1030, 0), (1031, 1)])
def test_three_per_cent_above_a_budget_fail(
    budgets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: float, code: int
) -> None:
    _counts(monkeypatch, *[{"2 kB": count}] * 3)

    assert bench._checked(["2 kB"]) == code
    assert ("the budget is 1,000 k" in capsys.readouterr().err) == bool(code)


def test_what_is_above_is_counted_again_by_itself(budgets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _counts(monkeypatch, {"2 kB": 2000, "refusal": 400}, {"2 kB": 1100}, {"2 kB": 900})

    assert bench._checked(["2 kB", "refusal"]) == 0
    assert asked == [["2 kB", "refusal"], ["2 kB"], ["2 kB"]]


def test_budgets_of_another_python_are_not_held(
    budgets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "of_this_python", lambda: "Python 3.99, none")
    assert bench._checked(["2 kB"]) == 0
    assert "are not counted" in capsys.readouterr().out


def test_every_way_has_a_budget() -> None:
    held = json.loads(bench.BUDGETS.read_text("utf-8"))

    assert held["budgets"].keys() == bench.WAYS.keys()
    assert all(count > 0 for count in held["budgets"].values())
