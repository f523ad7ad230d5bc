"""Lines are written by a thread: nothing waits for a terminal, and what it does not take is counted."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from patchbay.proxy import line_writer
from patchbay.proxy.line_writer import MOST_WAITING, LineWriter


def dropped(lines: int) -> str:
    return f"{lines} dropped"


def writer(out: TextIO) -> LineWriter:
    return LineWriter(out, dropped)


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """Its reading end, whose lines are read when asked for, and its writing end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "r", encoding="utf-8") as read, os.fdopen(writing, "w", encoding="utf-8") as write:
        yield read, write


def test_before_the_start_and_after_the_end_lines_are_written_at_once(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w", encoding="utf-8") as out:
        made = writer(out)
        print("one", file=made)
        assert file.read_text() == "one\n"
        made.start()
        made.start()
        made.write("two\nthr")
        made.write("ee\n")
        made.stop()
        assert file.read_text() == "one\ntwo\nthree\n"
        made.line("four")
        made.stop()
        assert file.read_text() == "one\ntwo\nthree\nfour\n"
        made.start()
        made.line("five ü")
        made.stop()
        assert file.read_text(encoding="utf-8").endswith("four\nfive ü\n")


def test_a_line_comes_in_order_and_whole(pipe: tuple[TextIO, TextIO]) -> None:
    read, write = pipe
    made = writer(write)
    made.start()
    for number in range(MOST_WAITING // 2):
        made.line(f"line {number}")
    assert [read.readline() for _ in range(MOST_WAITING // 2)] == [f"line {n}\n" for n in range(MOST_WAITING // 2)]
    made.stop()


def test_a_pipe_that_is_not_read_holds_up_nothing_and_what_is_dropped_is_told(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_TOGETHER", 0.0)
    read, write = pipe
    made = writer(write)
    made.start()
    for _ in range(10 * MOST_WAITING):  # more than the pipe and the queue take
        made.line("x" * 99)
    assert made.is_full and made.dropped
    lines = []
    while "dropped" not in (line := read.readline()):
        lines.append(line)
    assert set(lines) == {"x" * 99 + "\n"}
    told = int(line.split()[0])
    assert len(lines) + told <= 10 * MOST_WAITING and told > MOST_WAITING
    made.stop()


def test_at_the_end_a_pipe_that_is_not_read_is_given_up(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_LAST", 0.05)
    read, write = pipe
    made = writer(write)
    made.start()
    thread = made._thread
    for _ in range(MOST_WAITING):
        made.line("x" * 999)
    made.stop()
    assert made.is_stuck
    made.line("nothing waits")
    print("nor here", file=made)
    os.set_blocking(read.fileno(), False)
    while thread and thread.is_alive():  # or it would write into the next pipe that gets this number
        with contextlib.suppress(BlockingIOError):
            os.read(read.fileno(), 1 << 20)


def test_a_reader_that_is_gone_is_an_error_for_whom_prints_and_none_for_a_line(pipe: tuple[TextIO, TextIO]) -> None:
    read, write = pipe
    made = writer(write)
    read.close()
    made.line("one")
    made.line("two")
    with pytest.raises(BrokenPipeError):
        print("three", file=made)
    assert made.is_full


def test_a_descriptor_that_does_not_block_is_tried_again(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_NOT_READY", 0.001)
    read, write = pipe
    os.set_blocking(write.fileno(), False)
    made = writer(write)
    made.start()
    for _ in range(MOST_WAITING):
        made.line("x" * 99)
    for _ in range(MOST_WAITING):
        assert read.readline() == "x" * 99 + "\n"
    made.stop()


def test_what_an_encoding_lacks_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w", encoding="ascii") as out:
        writer(out).line("ü…")
    assert file.read_bytes() == b"??\n"


def test_a_file_without_a_descriptor_is_refused() -> None:
    with pytest.raises(OSError):
        writer(io.StringIO())


def test_it_says_what_it_writes_to(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        made = writer(out)
        assert not made.isatty() and made.fileno() == out.fileno()
        made.flush()
