"""
How much of what goes wrong is found, and how often something is said that is not so.

Answers are mixed up on purpose in every way we know, at every depth of echo, in every dialect, streaming and not: in
the core, without sockets, and through a real mitmdump. Everything follows from the seed. The table goes into
docs/crosstalk.md with `--write`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crosstalk import modes
from tests.crosstalk.world import DEPTHS, World, dialects_of
from tests.end_to_end.dialogue import DIALECTS
from tests.simulator.truth import Record

from . import score_containment, score_talks
from .score_wire import (
    DEPTH_OF,
    HTTP1,
    HTTP2,
    ON_SOCKETS,
    RESPONSES,
    SOCKETS_AT,
    SPOKEN,
    WRONGS,
    Ask,
    Clients,
    Studio,
    group,
    group_on_sockets,
    studio,
)

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "crosstalk.md"
BEGIN, END = "<!-- score -->", "<!-- end of score -->"
ALARMS = ("crosstalk", "suspect")
FAULTS_IN_THE_CORE, CLEAN_IN_THE_CORE = 10_000, 100_000
FAULTS_ON_THE_WIRE, CLEAN_ON_THE_WIRE = 1_000, 8_000
PARTS = ("core", "talks", "wire", "containment")
HEADING = "### "
SECTIONS = [
    HEADING + name
    for name in (
        "In the core", "In conversations, with nothing echoed", "Through mitmdump", "What reaches the client",
        "What it costs to hold an answer",
    )
]  # fmt: skip
RIGHT = "(right)"
DEEP = ("body", "engine", "metadata")
# Nothing but the words is wrong; and an engine's id stands only in the first event of Anthropic's: what comes later
# from another answer shows when the two prompts are counted differently, at the end.
UNSEEN = {"body": {"words_only"}, "engine": {"words_only", "splice, Anthropic"}, "metadata": {"words_only"}}
# An id of a call without a digit, whose letters seldom change their case, may be a name: one of 300 that are drawn.
LEAST = {"tool_id": 0.95}
OF_NOBODY = {"stray_head", "unknown_id"}  # it cannot be said whose it was


@dataclass
class Tally:
    """What became of one kind of fault at one depth."""

    wrong: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    victims: int = 0  # named rightly
    misnamed: int = 0
    proofs: int = 0
    own: int = 0
    false: int = 0

    def name(self, victim: str, owner: str) -> None:
        """Count a proof that names *victim*, where it was *owner*'s answer."""
        self.proofs += 1
        self.victims += victim == owner
        self.misnamed += victim not in (owner, "unknown")

    @property
    def found(self) -> float:
        return (self.verdicts["crosstalk"] + self.verdicts["suspect"]) / max(1, self.wrong)


Scores = dict[tuple[str, str], Tally]


@dataclass
class Detectors:
    """Findings by detector: in answers that were wrong, and in answers that were not."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


def core(seed: int, scale: float) -> tuple[Scores, Detectors]:
    """Mix up answers in the core until there are enough of them."""
    scores: Scores = defaultdict(Tally)
    detectors = Detectors()
    places = all_places()
    rounds = max(1, round(FAULTS_IN_THE_CORE * scale / 760))
    for number, (depth, dialect, stream) in enumerate(places, 1):
        for again in range(rounds):
            for mode in modes.FAULTS:
                if not fits(mode, dialect, stream) or depth in modes.NOTHING_TO_SEE.get(mode.__name__, ()):
                    continue
                world = World(depth, dialect, stream, seed * 1000 + again)
                world.warm(15)
                count(scores[named(mode.__name__, dialect), depth], detectors, mode(world))
        progress("core", number, len(places))
    return scores, detectors


def all_places() -> list[tuple[str, str, bool]]:
    """Return depth, dialect and whether it streams, of each place in which answers can be mixed up."""
    return [(depth, dialect, stream) for depth in DEPTHS for dialect in dialects_of(depth) for stream in (False, True)]


def count(tally: Tally, detectors: Detectors, truths: list[modes.Truth]) -> None:
    """Add up what was said of the answers of one fault."""
    for truth in truths:
        verdict = truth.line.verdict()
        names = {finding.detector for finding in verdict.findings if finding.strength != "weak"}
        if truth.of is None:
            tally.own += 1
            tally.false += verdict.kind in ALARMS
            detectors.wrong.update(names)
            continue
        tally.wrong += 1
        tally.verdicts[verdict.kind] += 1
        if verdict.kind == "crosstalk":
            tally.name(verdict.victim, f"x{truth.of.number}")
        detectors.right.update(names)


def fits(mode: modes.Mode, dialect: str, stream: bool) -> bool:
    """Whether *mode* means anything there."""
    name = mode.__name__
    if name in modes.STREAMS_ONLY and not stream:
        return False
    return dialect in modes.DIALECTS_ONLY.get(name, (dialect,))


def silence(seed: int, scale: float) -> tuple[int, Counter[str]]:
    """Let answers pass that are right, however strange they look; return how many, and the alarms by kind."""
    alarms: Counter[str] = Counter()
    passed = 0
    places = all_places()
    for number, (depth, dialect, stream) in enumerate(places, 1):
        for mode in strange(dialect, stream):
            world = World(depth, dialect, stream, seed)
            for _ in range(8):
                judged = [truth.line.verdict() for truth in mode(world)]
                passed += len(judged)
                alarms[mode.__name__] += sum(verdict.kind in ALARMS for verdict in judged)
        world = World(depth, dialect, stream, seed)
        wanted = CLEAN_IN_THE_CORE * scale / len(places)
        done = 0
        while done < wanted:
            judged = [truth.line.verdict() for truth in (modes.clean, modes.clean_tools)[done % 2](world)]
            world.lines.clear()
            done += len(judged)
            alarms["clean"] += sum(verdict.kind in ALARMS for verdict in judged)
        passed += done
        progress("silence", number, len(places))
    return passed, +alarms


def strange(dialect: str, stream: bool) -> Iterator[modes.Mode]:
    """Yield what only looks strange, where it can."""
    for mode in modes.SILENCE:
        name = mode.__name__
        if (name in modes.CHAT_ONLY and dialect != "openai_chat") or (name in modes.STREAM_ONLY_SILENCE and not stream):
            continue
        yield mode


# -- through mitmdump --------------------------------------------------------------------------------------------------

# The share of a provider that gives ids back so; there are enough where they come back, and some more where not.
SHARES = {"both": 0.5, "vllm": 0.5, "none": 0.25, "metadata": 0.25}
LATER = ("stale", "repeat")  # of two who get one answer at one time, nothing says whose it is where nothing comes back
_PAIRED = ((HTTP1, HTTP1), (HTTP2, HTTP2))
_WARM = 16  # right answers first, of each host and dialect: at a host that is not known, form proves nothing
_ON_SHELVES = 2 * 2 * 8  # first answers, which are right: of `stale` and `repeat`, of each version, dialect and form


@dataclass
class OnTheWire:
    """What came of the answers that went through mitmdump; *differ* of the *judged* were judged otherwise later."""

    scores: Scores
    judged: int
    differ: int

    @property
    def wrong(self) -> int:
        return sum(tally.wrong for tally in self.scores.values())

    @property
    def right(self) -> int:
        return sum(tally.own for tally in self.scores.values())

    @property
    def false(self) -> int:
        return sum(tally.false for tally in self.scores.values())


def wire(seed: int, scale: float) -> OnTheWire:
    """Mix up answers between simulated providers and a real mitmdump, over HTTP/1 and HTTP/2, and judge its dump."""
    with studio(tuple(SHARES), seed) as place:
        asked = asyncio.run(ask_all(place, scale))
        lines = place.lines(asked)
        judged, differ = place.judged_again(lines)
        missing = asked - len(lines)
        return OnTheWire(held_against(place, lines), judged, differ + missing)


async def ask_all(place: Studio, scale: float) -> int:
    """Ask everything there is to ask: what is to be mixed up together, with others around it that are not."""
    groups = [(echo, *each) for echo, share in SHARES.items() for each in groups_of(echo, scale * share)]
    clean, rooms = round(CLEAN_ON_THE_WIRE * scale), len(groups)  # beside a group on a socket are as many right ones
    groups += [(echo, *each) for echo in SOCKETS_AT for each in groups_on_sockets(scale * SHARES[echo])]
    done, asked = 0, 0
    async with Clients(place) as clients:
        for echo, way in ((echo, way) for echo in SHARES for way in _PAIRED):
            right = [Ask("", dialect) for dialect in SPOKEN.get(echo, DIALECTS) for _ in range(_WARM)]
            await asyncio.gather(*(clients.ask(each, echo, way) for each in right))
            asked += len(right)
        for at, (echo, way, together) in enumerate(groups, 1):
            spoken, socket = SPOKEN.get(echo, DIALECTS), together[0].socket
            numbers = range(done, clean * at // rooms)
            around = [Ask("", spoken[n % len(spoken)], n // 4 % 2 == 1) for n in numbers]
            around = [Ask("", RESPONSES, stream=True, socket=True) for _ in numbers] if socket else around
            done += len(around)
            asked += (len(together) + len(around)) * (2 if socket else 1)  # the upgrade has a line of its own
            if echo == "none" and together[0].wrong in LATER:
                await clients.ask(together.pop(0), echo, way)
            await asyncio.gather(*(clients.ask(each, echo, way) for each in (*together, *around)))
            progress("mitmdump: groups", at, len(groups))
    return asked


def groups_of(echo: str, share: float) -> Iterator[tuple[tuple[str, str], list[Ask]]]:
    """Yield groups of requests whose answers are mixed up, until there are enough of them, and how they are asked."""
    wanted, number, made = wanted_of(share), 0, 0
    while made < wanted:
        for wrong in WRONGS:
            if wrong == "head" and echo != "both":
                continue  # no id comes back in a head: nothing is wrong with it
            together = group(wrong, number, SPOKEN.get(echo, DIALECTS))
            made += len(together)
            yield _PAIRED[(number + number // 8) % 2], together
        number += 1


def groups_on_sockets(share: float) -> Iterator[tuple[tuple[str, str], list[Ask]]]:
    """Yield what `groups_of` yields, on WebSockets: in proportion to their part of what goes wrong there."""
    wanted, made = wanted_of(share) * len(ON_SOCKETS) / len(WRONGS), 0
    while made < wanted:
        for wrong in ON_SOCKETS:
            together = group_on_sockets(wrong)
            made += len(together)
            yield (HTTP1, HTTP1), together


def wanted_of(share: float) -> float:
    """Return how many requests something goes wrong with, and those whose answers are put on shelves for others."""
    wanted = FAULTS_ON_THE_WIRE * share
    return wanted + min(wanted, _ON_SHELVES)


def held_against(place: Studio, lines: dict[str, dict[str, Any]]) -> Scores:
    """Hold the journal's *lines* against what the providers know."""
    scores: Scores = defaultdict(Tally)
    known = [each for each in place.records if each[2].method == "POST"]
    messages = {str(line["session"]): line for line in lines.values() if line["status"] != 101}
    found = {(echo, version, record.seq): line_of(record, lines, messages) for echo, version, record in known}
    for echo, version, record in known:
        if not (line := found[echo, version, record.seq]):
            continue
        given = next((of for of in (record.body_of, record.text_of, record.head_of) if of != record.seq), 0)
        wrong = record.header("x-wrong") if given or "head_in_body" in record.faults else ""
        tally = scores[named(wrong, record.dialect, record.http), DEPTH_OF[echo]]
        if not wrong:
            tally.own += 1
            tally.false += line["verdict"] in ALARMS
            continue
        tally.wrong += 1
        tally.verdicts[str(line["verdict"])] += 1
        if line["verdict"] == "crosstalk":
            other = found.get((echo, version, given)) or {}
            tally.name(str(line["victim"]), str(other.get("exchange")) if given else "unknown")
    return scores


def line_of(
    record: Record, lines: Mapping[str, dict[str, Any]], messages: Mapping[str, dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the line of *record*; of a message on a WebSocket by its session: the upgrade's id is all that came."""
    line = lines.get(record.received_id)
    return messages.get(str(line["session"])) if line and record.http == "websocket" else line


def named(wrong: str, dialect: str, http: str = "") -> str:
    """Return the row of *wrong*: one of its own on WebSockets, and where an event says nothing about whose it is."""
    if wrong and http == "websocket":
        return f"{wrong}, WebSocket"
    return f"{wrong}, Anthropic" if wrong == "splice" and dialect == "anthropic" else wrong or RIGHT


# -- the table ---------------------------------------------------------------------------------------------------------


def table(scores: Scores) -> list[str]:
    """Return the rows: what went wrong, and what was said of it at each depth."""
    depths = [depth for depth in DEPTHS if any(at == depth for _, at in scores)]
    lines = ["| what went wrong | " + " | ".join(f"echo: {depth}" for depth in depths) + " |"]
    lines.append("|---|" + "---|" * len(depths))
    for name in dict.fromkeys(name for name, _ in scores if name != RIGHT):
        lines.append(f"| {name} | " + " | ".join(cell(scores.get((name, depth))) for depth in depths) + " |")
    return lines


def cell(tally: Tally | None) -> str:
    """Return how many were found, of how many, and how often the right victim was named with a proof."""
    if tally is None or not tally.wrong:
        return "nothing to see"
    if not tally.found:
        missed = max(tally.verdicts, key=lambda kind: tally.verdicts[kind])
        return f"not found: {missed} ({tally.wrong})"
    proved = f"{tally.verdicts['crosstalk'] / tally.wrong:.0%} proved" if tally.proofs else "suspected only"
    victim = f", victim right in {tally.victims / tally.proofs:.0%}" if tally.victims else ""
    return f"{tally.found:.0%} of {tally.wrong} found, {proved}{victim}"


def report(options: argparse.Namespace) -> tuple[list[str], bool]:
    """Run everything that was asked for; return the text, and whether what must hold does."""
    began = time.monotonic()
    text, good = [], True
    for part in PARTS[:1] if options.core else options.part or PARTS:
        found, holds = {"core": _core, "talks": _talks, "wire": _wire, "containment": _containment}[part](
            options.seed, options.scale
        )
        text += [*made_with(options, found), ""]
        good = good and holds
    print(f"\n({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return text[:-1], good


def made_with(options: argparse.Namespace, text: list[str]) -> Iterator[str]:
    """Yield *text* with the options under each heading."""
    for line in text:
        yield line
        if line.startswith(HEADING):
            yield from ("", f"Seed {options.seed}, scale {options.scale:g}.")


def _core(seed: int, scale: float) -> tuple[list[str], bool]:
    scores, detectors = core(seed, scale)
    passed, alarms = silence(seed, scale)
    total = sum(tally.wrong for tally in scores.values())
    false = sum(tally.false for tally in scores.values())
    text = ["### In the core", "", *table(scores), ""]
    text += [f"{total} wrong answers; {false} alarms among the right answers that stood beside them."]
    told = f" {dict(alarms)}" if alarms else ""
    text += [f"{passed} right answers, many of them strange: {sum(alarms.values())} alarms{told}.", ""]
    text += ["| detector | strong or proof, in wrong answers | in right answers |", "|---|---|---|"]
    text += [f"| {name} | {number} | {detectors.wrong[name]} |" for name, number in detectors.right.most_common()]
    return text, not false and not alarms and all_found(scores)


def _wire(seed: int, scale: float) -> tuple[list[str], bool]:
    found = wire(seed, scale)
    deep = sum(tally.wrong for (_, depth), tally in found.scores.items() if depth in DEEP)
    text = ["### Through mitmdump", "", *table(found.scores), ""]
    text += [f"{found.wrong} wrong answers, {deep} of them where our id comes back in the body or from the engine."]
    text += [f"{found.right} right answers: {found.false} alarms."]
    text += [f"{found.judged} exchanges judged again from the dump: {found.differ} verdicts are not those of the day."]
    return text, not found.false and not found.differ and found.judged > 0 and all_found(found.scores)


def _talks(seed: int, scale: float) -> tuple[list[str], bool]:
    return score_talks.report(seed, scale, progress)


def _containment(seed: int, scale: float) -> tuple[list[str], bool]:
    return score_containment.report(seed, scale, progress)


def all_found(scores: Scores) -> bool:
    """Whether every fault was found, with the right victim, where our id comes back with the body."""
    missed = [
        (name, depth, dict(tally.verdicts), f"victims: {tally.victims} of {tally.proofs}, {tally.misnamed} misnamed")
        for (name, depth), tally in scores.items()
        if depth in DEEP and tally.wrong and name not in UNSEEN[depth]
        if tally.misnamed
        or tally.found < LEAST.get(name, 1)
        or (tally.victims < tally.proofs and name not in OF_NOBODY)
    ]
    for each in missed:
        print("NOT SO:", *each, file=sys.stderr)
    return not missed


def progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}   ", end="", file=sys.stderr, flush=True)


def write(text: list[str]) -> None:
    """Put the sections of *text* into the document; others stay."""
    old = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = old.partition(BEGIN)
    told, _, tail = rest.partition(END)
    sections = sections_of(told) | sections_of("\n".join(text))
    known = "\n\n".join(sections[name] for name in sorted(sections, key=SECTIONS.index))
    DOCUMENT.write_text(f"{head}{BEGIN}\n{known}\n{END}{tail}", encoding="utf-8")


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of *text* by their headings."""
    found = [HEADING + each.strip() for each in text.split(HEADING)[1:]]
    return {each.splitlines()[0]: each for each in found}


def main() -> int:
    """Print the score; 0 when what must hold does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the whole: 10 000 faults, 100 000 clean answers")
    parser.add_argument("--core", action="store_true", help="only in the core, without sockets")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; once or more")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/crosstalk.md")
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a provider hears that a client has left, many times
    text, good = report(options)
    print("\n".join(text))
    if options.write:
        write(text)
    print("\nwhat must hold, holds" if good else "\nNOT SO: see above")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
