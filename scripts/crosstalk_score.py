"""
How much of what goes wrong is found, and how often something is said that is not so.

Answers are mixed up on purpose in every way we know, at every depth of echo, in every dialect, streaming and not: in
the core, without sockets, and through a real mitmdump. Everything follows from the seed. The table goes into
docs/crosstalk.md with `--write`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.crosstalk import modes
from tests.crosstalk.world import DEPTHS, NAMES, World
from tests.end_to_end.conftest import KEYS
from tests.end_to_end.dialogue import DIALECTS, body, credential, path
from tests.end_to_end.harness import eventually, generic_config, proxy
from tests.simulator import Simulator, simulator_thread

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "crosstalk.md"
BEGIN, END = "<!-- score -->", "<!-- end of score -->"
ALARMS = ("crosstalk", "suspect")
FAULTS_IN_THE_CORE, CLEAN_IN_THE_CORE = 10_000, 100_000
FAULTS_ON_THE_WIRE, CLEAN_ON_THE_WIRE = 1_000, 5_000


@dataclass
class Tally:
    """What became of one kind of fault at one depth."""

    wrong: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    victims: int = 0
    proofs: int = 0
    own: int = 0
    false: int = 0

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
    places = [(depth, dialect, stream) for depth in DEPTHS for dialect in NAMES for stream in (False, True)]
    rounds = max(1, round(FAULTS_IN_THE_CORE * scale / 760))
    for number, (depth, dialect, stream) in enumerate(places, 1):
        for again in range(rounds):
            for mode in modes.FAULTS:
                if not fits(mode, dialect, stream) or depth in modes.NOTHING_TO_SEE.get(mode.__name__, ()):
                    continue
                world = World(depth, dialect, stream, seed * 1000 + again)
                world.warm(15)
                count(scores[mode.__name__, depth], detectors, mode(world))
        progress("core", number, len(places))
    return scores, detectors


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
            tally.proofs += 1
            tally.victims += verdict.victim == f"x{truth.of.number}"
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
    places = [(depth, dialect, stream) for depth in DEPTHS for dialect in NAMES for stream in (False, True)]
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

ON_THE_WIRE = ("swap", "body", "head", "stale", "repeat", "splice", "interleave", "stray")
_SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "swap": ("swap", {"timeout": 20, "room": "all"}),
    "body": ("swap", {"timeout": 20, "part": "body", "room": "body"}),
    "head": ("swap", {"timeout": 20, "part": "head", "room": "head"}),
    "stale": ("stale", {}),
    "repeat": ("repeat", {}),
    "splice": ("splice", {"timeout": 20, "after": 3}),
    "interleave": ("splice", {"timeout": 20, "after": 4, "interleave": True}),
    "stray": ("head_in_body", {}),
}
_STREAMS = frozenset({"splice", "interleave"})


def wire(seed: int, scale: float, echo: str) -> tuple[Scores, int, int]:
    """
    Mix up answers between a simulated provider and a real mitmdump.

    Return the scores, how many answers were right, and how many verdicts differ when the dump is judged again.
    """
    faults, clean = round(FAULTS_ON_THE_WIRE * scale / 2), round(CLEAN_ON_THE_WIRE * scale / 2)
    scores: Scores = defaultdict(Tally)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchbay-score-")))
        provider = stack.enter_context(simulator_thread(KEYS, echo=echo, seed=seed, bodies=False))
        for name, (fault, settings) in _SETTINGS.items():
            provider.fault(fault, settings, when=lambda record, name=name: record.header("x-wrong") == name)
        config = generic_config(folder, {name: key for key, name in KEYS.items()})
        config = config.replace("provider: generic", f"provider: {'generic' if echo == 'both' else 'quiet'}")
        config += "providers:\n  quiet: {preset: generic, echo: {promised: false}}\n"
        running = stack.enter_context(
            proxy(folder, config, "-q", "-w", str(folder / "day.mitm"), mode=f"reverse:{provider.url}")
        )
        asked = asyncio.run(ask_all(running.url, faults, clean))
        eventually(lambda: running.journal.count("\n") >= asked, 30)
        running.interrupt()
        lines = {line["request_id"]: line for line in map(json.loads, running.journal.splitlines())}
        right = tally_wire(scores, provider, lines, echo)
        differ = verified(folder)
    return scores, right, differ


async def ask_all(url: str, faults: int, clean: int) -> int:
    """Ask everything there is to ask, sixteen at a time; return how many requests that made."""
    each = max(1, faults // (2 * len(ON_THE_WIRE)))
    wanted = [(name, number) for number in range(each) for name in ON_THE_WIRE for _ in range(2)]
    total = len(wanted) + clean
    share = max(1, clean // max(1, len(wanted) // 2))
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
    asked = 0

    async def ask(client: httpx.AsyncClient, wrong: str, number: int) -> None:
        nonlocal asked
        kind = number % 8
        dialect, stream = DIALECTS[kind % 4], kind >= 4 or wrong in _STREAMS
        headers = credential(dialect, "sk-client") | ({"x-wrong": wrong} if wrong else {})
        asked += 1
        text = f"question {asked} WORDS-20"
        await client.post(path(dialect, stream=stream), json=body(dialect, [text], stream=stream), headers=headers)

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        for at in range(0, len(wanted), 2):  # the two of a pair at once, with others that are right around them
            pair = [ask(client, name, number) for name, number in wanted[at : at + 2]]
            around = [ask(client, "", at + more) for more in range(share)]
            await asyncio.gather(*pair, *around)
            progress("mitmdump", asked, total)
    return asked


def tally_wire(scores: Scores, provider: Simulator, lines: dict[str, dict[str, object]], echo: str) -> int:
    """Hold the journal against the provider's truth; return how many answers were right."""
    records = {record.seq: record for record in provider.truth.requests}
    right = 0
    for record in records.values():
        line = lines.get(record.received_id)
        if line is None:
            continue
        wrong = record.header("x-wrong") if record.is_victim or "head_in_body" in record.faults else ""
        tally = scores[wrong or "(right)", "body" if echo == "both" else "none"]
        if not wrong:
            right += 1
            tally.own += 1
            tally.false += line["verdict"] in ALARMS
            continue
        tally.wrong += 1
        tally.verdicts[str(line["verdict"])] += 1
        if line["verdict"] == "crosstalk":
            other = records.get(record.body_of if record.body_of != record.seq else record.head_of)
            owner = lines.get(other.received_id, {}).get("exchange") if other and other is not record else "unknown"
            tally.proofs += 1
            tally.victims += line["victim"] == owner
    return right


def verified(folder: Path) -> int:
    """Judge the dump again; return how many verdicts are not those of the day."""
    command = [sys.executable, "-m", "patchbay.cli", "verify", "--state", str(folder / "state")]
    done = subprocess.run(
        [*command, "--all", str(folder / "day.mitm")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 2:
        raise RuntimeError(done.stderr)
    return done.stdout.count("said then")


# -- the table ---------------------------------------------------------------------------------------------------------


def table(scores: Scores) -> list[str]:
    """Return the rows: what went wrong, and what was said of it at each depth."""
    depths = [depth for depth in DEPTHS if any(at == depth for _, at in scores)]
    lines = ["| what went wrong | " + " | ".join(f"echo: {depth}" for depth in depths) + " |"]
    lines.append("|---|" + "---|" * len(depths))
    for name in dict.fromkeys(name for name, _ in scores if name != "(right)"):
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
    """Run everything; return the text, and whether what must hold does."""
    began = time.monotonic()
    scores, detectors = core(options.seed, options.scale)
    passed, alarms = silence(options.seed, options.scale)
    total = sum(tally.wrong for tally in scores.values())
    false = sum(tally.false for tally in scores.values())
    text = [f"Seed {options.seed}, scale {options.scale:g}.", "", "### In the core", "", *table(scores), ""]
    text += [f"{total} wrong answers; {false} alarms among the right answers that stood beside them."]
    text += [f"{passed} right answers, many of them strange: {sum(alarms.values())} alarms {dict(alarms) or ''}", ""]
    text += ["| detector | strong or proof, in wrong answers | in right answers |", "|---|---|---|"]
    text += [f"| {name} | {number} | {detectors.wrong[name]} |" for name, number in detectors.right.most_common()]
    good = not false and not alarms and echoed(scores)
    if not options.core:
        for echo in ("both", "none"):
            on_wire, right, differ = wire(options.seed, options.scale, echo)
            told = "the id comes back in head and body" if echo == "both" else "nothing comes back"
            text += ["", f"### Through mitmdump: {told}", "", *table(on_wire), ""]
            false = sum(tally.false for tally in on_wire.values())
            text.append(
                f"{right} right answers, {false} alarms; {differ} verdicts differ when the dump is judged again."
            )
            good = good and not false and not differ and (echo == "none" or echoed(on_wire))
    print(f"\n({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return text, good


UNSEEN = frozenset({"words_only"})  # nothing but the words is wrong


def echoed(scores: Scores) -> bool:
    """Whether every fault was found where our id comes back with the body."""
    missed = [
        (name, depth, dict(tally.verdicts))
        for (name, depth), tally in scores.items()
        if depth == "body" and name not in UNSEEN and tally.wrong and tally.found < 1
    ]
    for each in missed:
        print("NOT FOUND:", *each, file=sys.stderr)
    return not missed


def progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}   ", end="", file=sys.stderr, flush=True)


def write(text: list[str]) -> None:
    """Put *text* into its place in the document."""
    old = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n" + "\n".join(text) + f"\n{END}{tail}", encoding="utf-8")


def main() -> int:
    """Print the score; 0 when what must hold does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the whole: 10 000 faults, 100 000 clean answers")
    parser.add_argument("--core", action="store_true", help="only in the core, without sockets")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/crosstalk.md")
    options = parser.parse_args()
    text, good = report(options)
    print("\n".join(text))
    if options.write:
        write(text)
    print("\nwhat must hold, holds" if good else "\nNOT SO: see above")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
