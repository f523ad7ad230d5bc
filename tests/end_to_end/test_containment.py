"""What is proved to be another's is stopped before a word of it is out, over HTTP/1 and HTTP/2, and counted rightly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from scripts import score_containment
from scripts.score_containment import HOLD, NO_HOLD, OBSERVE, SETTINGS, foreign
from scripts.score_wire import HTTP1, HTTP2, WAYS, Ask, Clients, Heard, Studio, group, studio

KNOWN_BY = 12  # answers that repeat the settings of their request
MINE, THEIRS = (f"MARK-{digit * 32}" for digit in "ab")


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (f"{MINE} {MINE}.1", 0),
        (f"{MINE} {THEIRS}.1", 39),
        (f'{{"text":"{THEIRS}"}}', 37),
        (f"{MINE[:9]}", 0),
        (f"{MINE} {THEIRS[:9]}", 9),
        ("no words at all", 0),
    ],
)
def test_the_bytes_of_another_s_words_are_counted_even_of_half_a_word(data: str, count: int) -> None:
    assert foreign(data.encode(), MINE) == count


@pytest.fixture(scope="module", params=[HOLD, NO_HOLD])
def blocking(request: pytest.FixtureRequest) -> Iterator[tuple[Studio, list[tuple[str, tuple[str, str], Heard]]]]:
    """A proxy that blocks, and what its clients got: in all dialects, streaming and not, in events and in pieces."""
    wrongs = ("swap", "rotate", "body", "repeat", "splice", "dialect", "settings")
    with studio(("both",), 7, SETTINGS[request.param]) as place:

        async def asked() -> list[tuple[str, tuple[str, str], Heard]]:
            heard: list[tuple[str, tuple[str, str], Heard]] = []
            async with Clients(place) as clients:
                for number in range(KNOWN_BY):  # one setting that was swapped proves something at a host that is known
                    for way in ((HTTP1, HTTP1), (HTTP2, HTTP2)):  # each provider
                        right = Ask("", "openai_responses", bool(number % 2))
                        heard.append(("", way, await clients.ask(right, "both", way)))
                for number in range(8):
                    for wrong in wrongs:
                        way = WAYS[(number + len(wrong)) % len(WAYS)]
                        asks = [replace(each, pieces=bool(number % 2)) for each in group(wrong, number)]
                        answers = await asyncio.gather(*(clients.ask(each, "both", way) for each in asks))
                        heard += [(wrong, way, answer) for answer in answers]
            return heard

        yield place, asyncio.run(asked())


def test_no_word_of_an_answer_that_is_another_s_reaches_the_client(
    blocking: tuple[Studio, list[tuple[str, tuple[str, str], Heard]]],
) -> None:
    place, heard = blocking
    known = {record.mark: record for _, _, record in place.records}
    stopped = [(wrong, way, answer) for wrong, way, answer in heard if known[answer.ask.mark].is_victim]

    assert len(stopped) > 80
    assert {way for _, way, _ in stopped} == set(WAYS)
    for wrong, way, answer in stopped:
        assert foreign(answer.data, answer.ask.mark) == 0, (wrong, way, answer)
        assert b"crosstalk_detected" in answer.data
        assert answer.status == 502 or not answer.whole, (wrong, way, answer)
        if answer.status == 200:  # what came before it can be read
            told = [line.removeprefix(b"data: ") for line in answer.data.split(b"\n") if line.startswith(b"data: ")]
            assert all(json.loads(each) for each in told if each != b"[DONE]"), answer
    for wrong, way, answer in heard:
        if not known[answer.ask.mark].is_victim:
            assert (answer.status, answer.whole) == (200, True), (wrong, way, answer)


def test_what_was_cut_is_judged_again_as_it_was_judged_then(
    blocking: tuple[Studio, list[tuple[str, tuple[str, str], Heard]]],
) -> None:
    place, heard = blocking
    lines = place.lines(len(heard))

    assert place.judged_again(lines) == (len(heard), 0)


def test_where_nothing_is_stopped_another_s_words_arrive_and_are_counted() -> None:
    with studio(("both",), 7, SETTINGS[OBSERVE]) as place:

        async def asked() -> list[Heard]:
            async with Clients(place) as clients:
                pair = [Ask("swap", "anthropic", True), Ask("swap", "anthropic", True)]
                return await asyncio.gather(*(clients.ask(each, "both", (HTTP2, HTTP2)) for each in pair))

        answers = asyncio.run(asked())

    assert [answer.status for answer in answers] == [200, 200]
    assert [foreign(answer.data, answer.ask.mark) for answer in answers] == [37 + 9 * 39 + 10 * 40] * 2


def test_a_proof_is_called_by_what_it_rests_on() -> None:
    weak, proof = {"detector": "model", "strength": "weak"}, {"detector": "tag", "strength": "proof"}

    assert score_containment._proof({"findings": [weak, proof]}) == "an id"
    assert score_containment._proof({"findings": [weak]}) == ""


def test_what_must_be_contained_is_what_stands_before_the_first_word() -> None:
    rows = {row for row in score_containment.PROVED_BY.values() if row in score_containment.AT_ONCE}

    assert rows == set(score_containment.AT_ONCE)
    assert score_containment.Stopped([0] * 99 + [7]).share == score_containment.CONTAINED
