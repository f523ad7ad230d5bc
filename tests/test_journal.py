"""One line per exchange, for its owner's eyes only, and never endless."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from patchbay import journal
from patchbay.settings.settings import JournalSettings
from patchbay.values.answer import Usage
from patchbay.values.decision import AttemptSummary, BindingKind, Decision, Finding


def decision(**more: object) -> Decision:
    plain: dict[str, object] = {
        "exchange": "x1", "time": 1.5, "client": "local", "method": "POST", "path": "/v1/chat/completions",
        "dialect": "openai_chat", "model": "m", "stream": True, "pool": "openai@any",
        "session": "aa", "thread": "bb", "tier": "own",
        "binding": "hit", "account": "a", "provider": "generic", "request_id": "pb1-x", "client_request_id": "",
        "session_id": "s", "attempts": [AttemptSummary("a", "pb1-x", 200, "ok", 0.25)], "status": 200,
        "event_type": "chat_completion_success", "error": "", "duration_seconds": 0.5, "first_byte_seconds": 0.25,
        "tokens": Usage(5, 2, 3, 0), "in_flight": 1, "verdict": "crosstalk", "echo": "", "victim": "x2",
        "findings": [Finding("tag", "ids", "proof", "header x", "e", "r", "x2")],
    }  # fmt: skip
    return Decision(**(plain | more))  # type: ignore[arg-type]


def test_a_line_holds_what_row_e3_asks_for() -> None:
    line = decision().encoded()

    for name in (
        "request_id client account provider model stream status duration_seconds tokens event_type error binding"
        " in_flight"
    ).split():
        assert name in line
    assert line["tokens"] == {"prompt": 5, "completion": 2, "cached": 3, "cache_write": 0}
    assert line["binding"] in get_args(BindingKind)
    assert line["findings"][0]["victim"] == "x2"


def test_a_line_is_plain_json_and_holds_no_raw_id() -> None:
    text = json.dumps(decision().encoded())

    assert "the-raw-id" not in text
    assert "raw" not in text


def test_lines_are_written_in_order_to_a_file_of_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    writer = journal.Journal(JournalSettings(str(path)))
    for number in range(50):
        writer.write(decision(exchange=str(number)).encoded())
    writer.close()

    assert [json.loads(line)["exchange"] for line in path.read_text().splitlines()] == [str(n) for n in range(50)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_deleted_or_renamed_is_made_anew(tmp_path: Path) -> None:
    """R19: as state.db is."""
    path = tmp_path / "deep" / "journal.jsonl"
    writer = journal.Journal(JournalSettings(str(path)))
    for number, away in enumerate(
        (lambda: shutil.rmtree(path.parent), lambda: path.rename(tmp_path / "old"), path.unlink)
    ):
        writer.write(decision(exchange=str(number)).encoded())
        assert eventually(lambda: path.exists() and path.stat().st_size > 0)
        away()
    writer.write(decision(exchange="last").encoded())
    writer.close()

    assert [json.loads(line)["exchange"] for line in path.read_text().splitlines()] == ["last"]
    assert path.stat().st_mode & 0o777 == 0o600


def eventually(condition: Callable[[], bool]) -> bool:
    """Ask until *condition* holds: a thread writes when it writes."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_files_are_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = journal.Journal(JournalSettings(str(path), max_bytes=2000, keep=2))
    for number in range(40):
        writer.write(decision(exchange=str(number)).encoded())
    writer.close()

    names = sorted(found.name for found in tmp_path.iterdir())
    assert names == ["journal.jsonl", "journal.jsonl.1", "journal.jsonl.2"]
    assert all(found.stat().st_mode & 0o777 == 0o600 for found in tmp_path.iterdir())
    assert all(found.stat().st_size < 4000 for found in tmp_path.iterdir())
    newest = (tmp_path / "journal.jsonl").read_text() or (tmp_path / "journal.jsonl.1").read_text()
    assert json.loads(newest.splitlines()[-1])["exchange"] == "39"


def test_a_path_that_is_no_text_does_not_end_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = journal.Journal(JournalSettings(str(path)))
    for odd in ("/\udcff", "/v1"):
        writer.write(decision(path=odd).encoded())
    writer.close()

    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/\udcff", "/v1"]


def test_what_waits_for_a_disk_is_bounded_and_the_loss_is_told(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(journal, "WAITING", 3)
    monkeypatch.setattr(journal, "MOMENT", 30.0)  # nothing is written before it is closed
    path = tmp_path / "journal.jsonl"
    writer = journal.Journal(JournalSettings(str(path)))
    for number in range(5):
        writer.write(decision(exchange=str(number)).encoded())
    writer.close()

    assert [json.loads(line)["exchange"] for line in path.read_text().splitlines()] == ["0", "1", "2"]
    assert "keep up: 2" in caplog.text


def written(settings: JournalSettings, *lines: str) -> journal.Journal:
    """Return a journal that wrote *lines* in one go, on this thread; its own has nothing to do."""
    writer = journal.Journal(settings)
    writer._lines.extend({"n": line} for line in lines)
    writer._write()
    return writer


def told(path: Path) -> list[str]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [["5", "6"]]), (2, [["5", "6"], ["3", "4"]]),
                                            (3, [["5", "6"], ["3", "4"], ["1", "2"]]),
                                            (4, [["5", "6"], ["3", "4"], ["1", "2"]])])  # fmt: skip
def test_each_file_holds_lines_up_to_its_bound_and_so_many_stay(tmp_path: Path, keep: int, kept: list[Any]) -> None:
    path = tmp_path / "j"
    writer = written(JournalSettings(str(path), max_bytes=20, keep=keep), *"1234567")
    writer.close()

    assert told(path) == ["7"]
    assert [told(tmp_path / f"j.{number + 1}") for number in range(len(kept))] == kept
    assert len(list(tmp_path.iterdir())) == 1 + len(kept)


@pytest.mark.parametrize(("bound", "rotated"), [(20, True), (21, False)])
def test_a_file_counts_what_stands_in_it_already(tmp_path: Path, bound: int, rotated: bool) -> None:
    path = tmp_path / "j"
    for line in "12":
        written(JournalSettings(str(path), max_bytes=bound), line).close()

    assert (tmp_path / "j.1").exists() is rotated


def test_a_file_that_still_stands_is_kept_open_and_nothing_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "j"
    writer = written(JournalSettings(str(path)), "1")
    before = writer._file
    writer._write()
    assert (writer._file, told(path)) == (before, ["1"])
    path.unlink()
    writer._write()

    assert (writer._file != before, told(path)) == (True, [])
    writer.close()


def test_a_line_is_written_soon_without_an_end(tmp_path: Path) -> None:
    writer = journal.Journal(JournalSettings(str(tmp_path / "j")))
    for line in "12":
        writer.write({"n": line})
        assert eventually(lambda line=line: line in told(tmp_path / "j"))
    writer.close()

    assert (journal.MOMENT, journal.WAITING) == (0.05, 100_000)


def test_a_disk_that_fails_is_told_and_a_loss_once(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(journal, "MOMENT", 0.0)
    writer = journal.Journal(JournalSettings(str(tmp_path / "j")))
    writer._lost = 2
    with monkeypatch.context() as failing:
        failing.setattr(writer, "_follow", lambda: (_ for _ in ()).throw(OSError(28, "No space left")))
        writer.write({"n": "1"})
        assert eventually(lambda: "keep up: 2" in caplog.text)
    writer.write({"n": "2"})
    writer.close()

    assert "the journal could not be written: No space left" in caplog.text
    assert (caplog.text.count("keep up: 2"), writer._lost, told(tmp_path / "j")) == (1, 0, ["1", "2"])
