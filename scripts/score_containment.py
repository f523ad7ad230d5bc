"""
How much of another's answer reaches a client before it is stopped, and what it costs to hold an answer back for that.

Every word of every answer says whose it is, so the bytes that a client got can be counted against the providers' truth.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from tests.end_to_end.dialogue import DIALECTS, body, credential, path
from tests.simulator.truth import Record

from .score_wire import HTTP1, PRESETS, WAYS, WRONGS, Ask, Clients, Heard, Studio, group, studio

Progress = Callable[[str, int, int], None]
HOLD, NO_HOLD, OBSERVE = "held", "not held", "observed"
SETTINGS = {
    HOLD: "crosstalk: {reaction: block}\n",
    NO_HOLD: "crosstalk: {reaction: block}\nfailover: {hold_until_content: false}\n",
    OBSERVE: "crosstalk: {reaction: observe}\n",
}
# What proved it, by detector. An answer in pieces is counted apart: there an event is judged when it is whole.
PROVED_BY = {
    "tag": "an id", "contract": "an id", "duplicate": "a duplicate", "settings": "settings", "shape": "the dialect",
    "disorder": "the order of events", "stray-head": "a stray head",
}  # fmt: skip
DISPUTED = "a duplicate that two waited for"  # which of them it belongs to nothing says, so that neither is blocked
LATE = "what stands in the last event alone"  # of Responses that went over to another, where no event names its request
IN_PIECES = "any of these, events cut every 16 bytes"
# They stand before the first word. In IN_PIECES, what the order of events proves stands in the first wrong event.
AT_ONCE = ("an id", "a duplicate", "settings", "the dialect")
CONTAINED, SLOWED = 0.99, 1.2  # what must hold: shares of proofs, and of the provider's own time
_MARK = re.compile(rb"MARK-[0-9a-f]{0,32}(?:\.\d+)?")
_NOTHING_TO_STOP = frozenset({"head", "stray"})  # the words are one's own


@dataclass
class Stopped:
    """The proofs of one kind: for each, the bytes of another's words that the client got."""

    leaked: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        return sum(not leaked for leaked in self.leaked) / max(1, len(self.leaked))


Found = dict[tuple[str, str], Stopped]  # by what it was proved, or how it was asked; by what is done about it


@dataclass
class Containment:
    """What was counted: by proof, by the way it was asked, and the control in which nothing is stopped."""

    by_proof: Found = field(default_factory=dict)
    by_way: Found = field(default_factory=dict)
    lost: int = 0  # requests that no provider saw
    judged: int = 0
    differ: int = 0


# -- what reaches the client -------------------------------------------------------------------------------------------


def contain(seed: int, scale: float, progress: Progress) -> Containment:
    """Mix up answers under each of `SETTINGS`, and count what of them arrives."""
    found = Containment()
    for setting, more in SETTINGS.items():
        with studio(tuple(PRESETS), seed, more) as place:
            cases = list(_cases(random.Random(f"{seed} {setting}"), scale))
            heard = asyncio.run(_asked(place, cases, setting, progress))
            lines = place.lines(sum(len(group) for _, _, group in cases))
            _count(found, place, heard, lines, setting)
            judged, differ = place.judged_again(lines)
            found.judged += judged
            found.differ += differ
    return found


def _cases(draw: random.Random, scale: float) -> Iterator[tuple[str, tuple[str, str], list[Ask]]]:
    """Yield groups of requests whose answers are mixed up; first, so that hosts are known, some that are right."""
    places = [(echo, way) for echo in PRESETS for way in WAYS]
    for echo, way in places:
        if way[0] == HTTP1:  # the host is the same, whatever the client speaks
            yield from ((echo, way, [Ask("", DIALECTS[n % 4], n // 4 % 2 == 1)]) for n in range(32))
    every = [
        (echo, way, wrong, number, pieces)
        for echo, way in places
        for wrong in WRONGS.keys() - _NOTHING_TO_STOP
        for number in range(8)
        for pieces in (False, True)
        if (not pieces or number >= 4) and not (wrong == "settings" and number % 4)
    ]
    every.sort(key=repr)
    for echo, way, wrong, number, pieces in draw.sample(every, max(40, round(len(every) * min(1.0, scale)))):
        asks = group(wrong, number)
        yield echo, way, [Ask(each.wrong, each.dialect, each.stream, pieces) for each in asks]


async def _asked(
    place: Studio, cases: Sequence[tuple[str, tuple[str, str], list[Ask]]], setting: str, progress: Progress
) -> list[tuple[tuple[str, str], Heard]]:
    heard: list[tuple[tuple[str, str], Heard]] = []
    async with Clients(place) as clients:
        for at, (echo, way, asks) in enumerate(cases, 1):
            answers = await asyncio.gather(*(clients.ask(each, echo, way) for each in asks))
            heard += [(way, answer) for answer in answers]
            progress(f"{setting}: groups", at, len(cases))
    return heard


def _count(
    found: Containment,
    place: Studio,
    heard: Sequence[tuple[tuple[str, str], Heard]],
    lines: dict[str, dict[str, object]],
    setting: str,
) -> None:
    known = {record.mark: (echo, record) for echo, _, record in place.records}
    for way, answer in heard:
        if answer.ask.mark not in known:
            found.lost += 1
            print("LOST:", setting, way, answer.status, answer.data[:200], file=sys.stderr)
            continue
        echo, record = known[answer.ask.mark]
        proof = _proof(lines.get(record.received_id, {}))
        if not record.is_victim or not proof:
            continue
        row = (
            LATE if _stands_last(answer.ask, echo) else IN_PIECES if answer.ask.pieces and proof != DISPUTED else proof
        )
        form = "a stream" if answer.ask.stream else "a whole answer"
        leaked = foreign(answer.data, answer.ask.mark)
        found.by_proof.setdefault((row, setting), Stopped()).leaked.append(leaked)
        if row not in (IN_PIECES, LATE, DISPUTED):
            asked = f"{form}, {way[0]} here and {way[1]} there"
            found.by_way.setdefault((asked, setting), Stopped()).leaked.append(leaked)


def _stands_last(ask: Ask, echo: str) -> bool:
    return (ask.wrong, ask.dialect) == ("splice", "openai_responses") and echo != "both"


def _proof(line: dict[str, object]) -> str:
    findings = line.get("findings")
    proofs = [each for each in findings if each["strength"] == "proof"] if isinstance(findings, list) else []
    certain = next((PROVED_BY[each["detector"]] for each in proofs if not each.get("disputed")), "")
    return certain or (DISPUTED if proofs else "")


def foreign(data: bytes, mark: str) -> int:
    """Return how many bytes of *data* are words that do not carry *mark*, however many of a word's bytes arrived."""
    own = mark.encode()
    words = (found[0] for found in _MARK.finditer(data))
    return sum(len(word) for word in words if not own.startswith(word[: len(own)]))


# -- what it costs -----------------------------------------------------------------------------------------------------

PAUSES = (0.0, 0.05, 0.1, 0.2)  # seconds from the provider's head to its first event
ASKED = 24  # times for each pause and dialect


@dataclass
class Waited:
    """Milliseconds to the first byte of words, in turn: from the provider itself, and through either proxy."""

    direct: list[float] = field(default_factory=list)
    not_held: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    @property
    def to_provider(self) -> float:
        return statistics.median(held / direct for held, direct in zip(self.held, self.direct, strict=True))

    @property
    def to_not_held(self) -> float:
        return statistics.median(held / other for held, other in zip(self.held, self.not_held, strict=True))


def wait(seed: int, scale: float, progress: Progress) -> dict[float, Waited]:
    """Ask for streams that begin after a pause, in turn from the provider, through a proxy that holds, and one not."""
    found = {pause: Waited() for pause in PAUSES}
    with studio(("both",), seed, SETTINGS[HOLD]) as held, studio(("both",), seed, SETTINGS[NO_HOLD]) as not_held:
        for place in (held, not_held):
            for pause in PAUSES:
                for provider in place.providers.values():
                    provider.fault("delay_body", {"seconds": pause}, when=_waits(pause))
        asyncio.run(_waited(held, not_held, found, max(3, round(ASKED * scale)), progress))
    return found


def _waits(pause: float) -> Callable[[Record], bool]:
    return lambda record: record.header("x-wait") == str(pause)


async def _waited(held: Studio, not_held: Studio, found: dict[float, Waited], times: int, progress: Progress) -> None:
    way = ("both", HTTP1)
    urls = (held.providers[way].url, not_held.url("both", WAYS[0]), held.url("both", WAYS[0]))
    key = next(iter(held.providers[way].provider.setup.keys))
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for number in range(-1, times):  # the first time makes connections
            for dialect in DIALECTS:
                for pause, waited in found.items():
                    took = [await _first_words(client, url, dialect, pause, key) for url in urls]
                    if number >= 0:
                        for into, seconds in zip((waited.direct, waited.not_held, waited.held), took, strict=True):
                            into.append(seconds * 1e3)
            progress("held: rounds", number + 1, times)


async def _first_words(client: httpx.AsyncClient, url: str, dialect: str, pause: float, key: str) -> float:
    ask = Ask(dialect=dialect, stream=True)
    headers = credential(dialect, key) | {"x-wait": str(pause)}
    asked = body(dialect, [f"WORDS-20 {ask.mark}"], stream=True)
    data, took = b"", 0.0
    began = time.perf_counter()
    async with client.stream("POST", url + path(dialect, stream=True), json=asked, headers=headers) as answer:
        async for piece in answer.aiter_raw():
            data += piece
            took = took or (time.perf_counter() - began if ask.mark.encode() in data else 0.0)
    assert took, (url, answer.status_code, data[:200])
    return took


# -- the tables --------------------------------------------------------------------------------------------------------


def report(seed: int, scale: float, progress: Progress) -> tuple[list[str], bool]:
    """Measure both; return the text, and whether what must hold does."""
    found = contain(seed, scale, progress)
    waited = wait(seed, scale, progress)
    text = [
        "### What reaches the client",
        "",
        "Answers that were proved to be another's, through mitmdump with `crosstalk.reaction: block`: of how many no"
        " byte of another's words arrived, and how many bytes did (median, most). *Held* is"
        " `failover.hold_until_content`, as it is unless it is switched off. The last column, with `observe`, shows"
        " that there is something to stop.",
        "",
        *_table("proved by", found.by_proof, sorted({row for row, _ in found.by_proof}, key=_order)),
        "",
        *_table("asked for", found.by_way, sorted({row for row, _ in found.by_way})),
        "",
        f"*{LATE[0].upper()}{LATE[1:]}*: a stream of Responses that goes over into another's, from a provider that"
        " repeats nothing of the request in between. *Events cut*: the provider's events come in pieces of 16 bytes.",
        "",
        f"{found.judged} exchanges judged again from the dumps: {found.differ} verdicts are not those of the day.",
        "",
        "### What it costs to hold an answer",
        "",
        "Milliseconds to the first byte of words of a stream, in all dialects, by the provider's pause between head and"
        " first event; medians of requests that are made in turn.",
        "",
        "| pause | the provider itself | not held | held | held : provider | held : not held |",
        "|---|---|---|---|---|---|",
        *(_row(pause, each) for pause, each in waited.items()),
    ]
    held = [each for (row, at), each in found.by_proof.items() if at == HOLD and row in AT_ONCE]
    contained = bool(held) and all(each.share >= CONTAINED for each in held)
    quick = all(each.to_provider <= SLOWED for pause, each in waited.items() if pause)
    return text, contained and quick and not found.differ and not found.lost and found.judged > 0


def _order(row: str) -> tuple[bool, str]:
    return row in (LATE, IN_PIECES, DISPUTED), row


def _table(what: str, found: Found, rows: Sequence[str]) -> Iterator[str]:
    yield f"| {what} | " + " | ".join(SETTINGS) + " |"
    yield "|---" * (len(SETTINGS) + 1) + "|"
    for row in rows:
        yield f"| {row} | " + " | ".join(_cell(found.get((row, setting))) for setting in SETTINGS) + " |"


def _cell(stopped: Stopped | None) -> str:
    if stopped is None:
        return ""
    leaked = stopped.leaked
    none = sum(not each for each in leaked)
    if none == len(leaked):
        return f"{none} of {len(leaked)}"
    return f"{none} of {len(leaked)} ({statistics.median(leaked):g}, {max(leaked)} bytes)"


def _row(pause: float, waited: Waited) -> str:
    times = " | ".join(f"{statistics.median(each):.1f}" for each in (waited.direct, waited.not_held, waited.held))
    return f"| {pause * 1e3:g} ms | {times} | x{waited.to_provider:.2f} | x{waited.to_not_held:.2f} |"
