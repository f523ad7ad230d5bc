from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from patchbay.body import Body
from patchbay.cli import verify as command
from patchbay.cli.main import main
from patchbay.crosstalk.reverify import Judged, StoredExchange
from patchbay.store import master_key
from patchbay.values.decision import Verdict


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    master_key(tmp_path / "state")
    return tmp_path / "state"


def run(state: Path, content: bytes | None = None) -> int:
    file = Path("flows")
    if content is None:
        with file.open("wb") as out:
            FlowWriter(out).add(tflow.tflow(resp=True))
    else:
        file.write_bytes(content)
    return main(["verify", "flows", "--state", str(state)])


def test_a_flow_without_a_record_is_not_judged(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state) == 0
    assert capsys.readouterr().out == "flows: no exchange of Patchbay\n"


def test_a_file_of_another_kind_is_a_usage_error(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, b"no flows") == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("flows: ")


def test_without_a_key_nothing_can_be_recognised(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "master.key").unlink()

    assert run(state) == 2
    assert "name it with --state" in capsys.readouterr().err
    assert not (state / "master.key").exists()


def judged(number: int, kind: str = "clean", *, recorded: str = "", victim: str = "", cut: bool = False) -> Judged:
    verdict = Verdict(kind, victim=victim, echo="header")  # type: ignore[arg-type]
    return Judged(StoredExchange(({"request_id": f"pb1-{number}"},), Body(b""), recorded=recorded, cut=cut), verdict)


@pytest.mark.parametrize(
    ("found", "more", "told", "code"),
    [
        ([judged(1)], [], ["1 clean"], 0),
        ([judged(1)], ["--all"], ["pb1-1  clean  echo matched (header)", "1 clean"], 0),
        ([judged(1), judged(2, "suspect")], [], ["pb1-2  suspect  ", "1 clean, 1 suspect"], 0),
        ([judged(1, "crosstalk"), judged(2, "crosstalk")], [], ["pb1-1  ", "pb1-2  ", "2 crosstalk"], 1),
        ([judged(1, "unverifiable"), judged(2, "clean")], [], ["1 clean, 1 unverifiable"], 0),
        ([judged(1, recorded="clean"), judged(2, recorded="clean", cut=True)], [], ["2 clean"], 0),
        (
            [judged(1, recorded="suspect"), judged(2, recorded="clean")], [],
            ["pb1-1  clean  echo matched (header)  judged live: suspect", "2 clean; 1 not as they were judged live"], 1,
        ),
        (
            [judged(1, "crosstalk", recorded="crosstalk", victim="x")], [],
            ["pb1-1  crosstalk  echo matched (header), which says nothing about the body  judged live: crosstalk",
             "1 crosstalk; 1 not as they were judged live"], 1,
        ),
        ([judged(1, cut=True)], ["--all"], [
            "pb1-1  clean  echo matched (header)  the answer was not stored whole", "1 clean"], 0),
    ],
)  # fmt: skip
def test_verdicts_are_told_one_a_line_and_counted(
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[Judged],
    more: list[str],
    told: list[str],
    code: int,
) -> None:
    monkeypatch.setattr(command, "judge", lambda stored, mint: found)

    assert main(["verify", "flows", "--state", str(state), *more]) == code
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"flows: {told[-1]}"
    assert [line.startswith(start) for line, start in zip(lines, told[:-1], strict=True)] == [True] * len(lines)


def test_the_victim_that_was_named_live_is_told() -> None:
    stored = StoredExchange(({"request_id": "pb1-1"},), Body(b""), recorded="crosstalk", victim="x2")

    assert command.line(Judged(stored, Verdict("clean"))).endswith("  judged live: crosstalk, victim x2")
    alone = replace(stored, victim="", recorded="suspect")
    assert command.line(Judged(alone, Verdict("clean"))).endswith("  judged live: suspect")


@pytest.mark.parametrize(("kind", "code"), [("clean", 2), ("crosstalk", 1)])
def test_a_broken_file_is_judged_as_far_as_it_goes(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, code: int
) -> None:
    monkeypatch.setattr(command, "judge", lambda stored, mint: [judged(1, kind), *stored])

    assert run(state, b"no flows") == code
    told = capsys.readouterr()
    assert told.out.endswith(f"flows: 1 {kind}\n")
    assert told.err.startswith("flows: ")
    assert told.err.endswith("; the flows before that were judged\n")
