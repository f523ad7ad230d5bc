"""A transcript as a reader sees it: the newest first."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.transcript.pane import Pane
from patchbay.transcript.text import TranscriptText
from patchbay.values.transcript import (
    Block,
    Detail,
    ErrorText,
    Media,
    OfferedTool,
    Transcript,
    TranscriptTurn,
)

ASKED = Transcript(
    model="m-1",
    system=(Block("text", "You are careful. " * 40),),
    tools=(OfferedTool("Read", "Reads a file." * 100, '{"type": "object"}'),),
    turns=(
        TranscriptTurn("user", (Block("text", "the first question"),)),
        TranscriptTurn("assistant", (Block("call", '{"path": "src/x.py"}', "Read", "call-1"),)),
        TranscriptTurn("tool", (Block("result", "the file", "Read", "call-1"),)),
    ),
    settings=(Detail("max_tokens", 100), Detail("stream", True)),
)
ANSWERED = Transcript(
    turns=(TranscriptTurn("assistant", (Block("thinking", "one\ntwo"), Block("text", "the answer's text"))),),
    usage=(Detail("input_tokens", 12), Detail("output_tokens_details.reasoning_tokens", 7)),
    stop="end_turn",
)


def request(asked: Transcript, *, budget: int = 10_000, **more: Any) -> str:
    pane = Pane(80, budget)
    TranscriptText(pane, elsewhere="; elsewhere", **more).request(asked)
    return str(pane)


def answer(answered: Transcript, *, budget: int = 10_000) -> str:
    pane = Pane(80, budget)
    TranscriptText(pane).answer(answered)
    return str(pane)


def call(arguments: str) -> list[str]:
    block = Block("call", arguments, "Edit", "c")
    return request(Transcript(turns=(TranscriptTurn("assistant", (block,)),))).split("\n")[1:]


def test_the_newest_turn_comes_first_and_what_is_the_same_in_every_turn_last() -> None:
    page = request(ASKED)
    places = [page.index(part) for part in ("the file", "src/x.py", "the first question", "━ system"[2:], "Read 1.3k")]

    assert places == sorted(places)


def test_system_and_tools_are_folded() -> None:
    page = request(ASKED)

    assert "1 text, 680 characters" in page
    assert "Reads a file" not in page
    assert page.count("You are careful") < 12


def test_everything_folds_nothing() -> None:
    page = request(ASKED, everything=True)

    assert page.count("careful.") == 40
    assert "".join(page.split()).count("Readsafile.") == 100
    assert "type: object" in page


def test_settings_are_the_last() -> None:
    assert request(ASKED).endswith("model m-1 · max_tokens 100 · stream true")


def test_an_answer_is_read_as_it_was_thought() -> None:
    page = answer(ANSWERED)

    assert "thinking\n┊ one\n┊ two\n" in page
    assert page.index("┊ two") < page.index("the answer's text") < page.index("stop end_turn")
    assert "input_tokens 12 · output_tokens_details.reasoning_tokens 7" in page


def test_arguments_read_as_they_were_meant() -> None:
    arguments = '{"file": "x.py", "limit": 1.50, "text": "a\\n  b", "gone": null, "todos": []}'

    assert call(arguments) == [
        "→ Edit (c)",
        "    file: x.py",
        "    limit: 1.50",
        "    text:",
        "      a",
        "        b",
        "    gone: null",
        "    todos: []",
    ]


def test_long_lists_take_a_line_for_each_item() -> None:
    page = call('{"edits": [{"old": "' + "a" * 70 + '", "new": "b"}, 12]}')

    assert page[1:] == ["    edits:", "      -", f"        old: {'a' * 67}", f"          {'a' * 3}", "        new: b",
                        "      - 12"]  # fmt: skip


@pytest.mark.parametrize("arguments", ['{"half": "of', "no JSON", "[1, 2]", '"text"', "{" * 2000, '{"a":' * 2000])
def test_arguments_of_any_form_are_shown(arguments: str) -> None:
    assert arguments[:8] in "".join(call(arguments))


def test_a_result_holds_its_blocks() -> None:
    result = Block("result", "", "Shot", "c", blocks=(Block("image", media=Media("image/png", 1234)),))

    assert "← Shot (c)\n    [image image/png 1,234 bytes]" in request(
        Transcript(turns=(TranscriptTurn("tool", (result,)),))
    )


def test_an_error_comes_first() -> None:
    error = ErrorText("Too many requests", (Detail("type", "rate_limit_error"),))
    page = answer(Transcript(error=error, other=(Detail("body", "{}"),)))

    assert page.split("\n")[1:4] == ["Too many requests", "\u00a0", "type rate_limit_error"]


def test_what_could_not_be_read_is_shown() -> None:
    page = answer(
        Transcript(
            other=(Detail("event ping", "one\n"), Detail("event ping", "two\n"), Detail("request_id", "r-1")),
            is_cut=True,
        )
    )

    assert page.count("not read: event ping") == 1
    assert "one\n\u00a0\ntwo" in page
    assert page.endswith("request_id r-1")
    assert "it ends here" in page


def test_a_second_choice_says_so() -> None:
    turns = tuple(TranscriptTurn("assistant", (Block("text", text),), choice=n) for n, text in enumerate("ab"))

    assert "the answer · choice 2 ━━\nb" in answer(Transcript(turns=turns))


def test_what_finds_no_room_is_the_oldest_and_a_sentence_says_so() -> None:
    turns = tuple(TranscriptTurn("user", (Block("text", f"turn {number} " + "x" * 100),)) for number in range(50))
    page = request(Transcript(turns=turns, settings=(Detail("n", 1),)), budget=1000)

    assert "turn 49 " in page
    assert "turn 1 " not in page
    assert "earlier turns and " in page
    assert page.endswith("n 1")


def test_long_members_are_folded() -> None:
    block = Block("thinking", "so", details=(Detail("signature", "s" * 500),))
    asked = Transcript(turns=(TranscriptTurn("assistant", (block,)),))

    assert f"signature {'s' * 40}… (500 characters)" in request(asked)
    assert "s" * 70 in request(asked, everything=True)


def test_the_numbers_of_an_answer_that_fills_the_page_stand_there() -> None:
    blocks = tuple(Block("call", '{"a": 1}', "Read", f"call-{number}") for number in range(500))
    page = answer(
        Transcript(turns=(TranscriptTurn("assistant", blocks),), usage=(Detail("output_tokens", 7),)), budget=1000
    )

    assert "call-499" not in page
    assert "characters of the last text above" in page
    assert page.endswith("output_tokens 7")


def test_members_without_room_are_counted() -> None:
    page = request(Transcript(settings=tuple(Detail(f"member-{number}", "x" * 100) for number in range(900))))

    assert f"… {900 - page.count('member-'):,} more" in page
