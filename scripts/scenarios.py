"""
Asks a provider many things at once, each with a 128-bit marker of its own, and looks whose marker comes back.

`concurrent`, `team` and `models` end with an error when an answer carries another request's marker, `rapid` when one of
its twelve calls fails. Aimed at any base URL, or, without one, at a simulated provider that mixes up what shares an
upstream session: first bare, where it must show, then with Patchbay in front, where it must not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

MARK = re.compile(r"MARK-[0-9a-f]{32}", re.IGNORECASE)
# tokens in and out of twelve calls in a row, of which a gateway failed all from the third on
PATTERN = (
    (664, 2), (2280, 55), (3737, 321), (1371, 89), (1517, 45), (4161, 88), (1966, 28), (1290, 258), (1639, 124),
    (2408, 67), (2031, 38), (714, 51),
)  # fmt: skip
LIMIT = 500  # requests of one run, whatever was asked for
SLOWEST = 30.0  # seconds that one of the twelve calls may take
FILLER = "The studio keeps a record of every cord that was plugged, when, and by whom. "


@dataclass(frozen=True, slots=True)
class Aim:
    """Where requests go, and how."""

    base_url: str
    api_key: str
    models: tuple[str, ...]
    dialect: str = "openai"
    timeout: float = 60.0


@dataclass(slots=True)
class Call:
    """One request and what came of it. *verdict*: own | mixed | odd | failed."""

    who: str
    model: str
    stream: bool
    mark: str
    status: int = 0
    text: str = ""
    answered_by: str = ""
    tokens: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    error: str = ""
    verdict: str = ""
    owner: str = ""


@dataclass(slots=True)
class Run:
    """All calls of one run, and a place to print how far it is."""

    aim: Aim
    calls: list[Call] = field(default_factory=list)
    total: int = 0

    def judge(self) -> Counter[str]:
        """Say of every call whose answer it got."""
        owners = {call.mark: call for call in self.calls}
        for call in self.calls:
            marks = {mark.group().upper() for mark in MARK.finditer(call.text)}
            foreign = [owners[mark] for mark in owners if mark.upper() in marks and mark != call.mark]
            if call.error or call.status != 200:
                call.verdict = "failed"
            elif foreign:
                call.verdict, call.owner = "mixed", foreign[0].who
            else:
                call.verdict = "own" if call.mark.upper() in marks else "odd"
        return Counter(call.verdict for call in self.calls)


def ask(
    aim: Aim, turns: Sequence[str], model: str, stream: bool, limit: int
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return URL, headers and body of a request in the dialect that is aimed at."""
    said = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]
    base = aim.base_url.rstrip("/")
    match aim.dialect:
        case "anthropic":
            headers = {"x-api-key": aim.api_key, "anthropic-version": "2023-06-01"}
            body = {"model": model, "max_tokens": limit, "messages": said, "stream": stream}
            return f"{base}/v1/messages", headers, body
        case "gemini":
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            contents = [{"role": ("user", "model")[n % 2], "parts": [{"text": text}]} for n, text in enumerate(turns)]
            return f"{base}/v1beta/models/{model}:{verb}", {"x-goog-api-key": aim.api_key}, {"contents": contents}
        case "responses":
            body = {"model": model, "input": said, "stream": stream, "store": False, "max_output_tokens": limit}
            return f"{base}/responses", {"authorization": f"Bearer {aim.api_key}"}, body
        case _:
            body = {"model": model, "messages": said, "stream": stream, "max_tokens": limit}
            if stream:
                body["stream_options"] = {"include_usage": True}
            return f"{base}/chat/completions", {"authorization": f"Bearer {aim.api_key}"}, body


async def one(client: httpx.AsyncClient, run: Run, call: Call, turns: Sequence[str], limit: int = 400) -> None:
    """Make one call; whatever happens is written on it."""
    url, headers, body = ask(run.aim, turns, call.model, call.stream, limit)
    run.calls.append(call)
    began = time.monotonic()
    try:
        async with client.stream("POST", url, headers=headers, json=body) as answer:
            call.status = answer.status_code
            async for document in _documents(answer, call.stream):
                _read(call, document)
    except httpx.HTTPError as e:
        call.error = f"{type(e).__name__}: {e}"[:120]
    call.seconds = time.monotonic() - began
    _progress(run)


async def _documents(answer: httpx.Response, stream: bool) -> AsyncIterator[dict[str, Any]]:
    if answer.status_code != 200 or not stream:
        text = (await answer.aread()).decode("utf-8", "replace")
        parts = [text]
    else:
        parts = [line[5:] async for line in answer.aiter_lines() if line.startswith("data:")]
    for part in parts:
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _read(call: Call, document: dict[str, Any]) -> None:
    """Add to *call* what *document* says: its words, wherever they stand, its model and its tokens."""
    if isinstance(document.get("error"), dict):
        call.error = str(document["error"].get("message") or document["error"])[:120]
    for holder in (document, document.get("response"), document.get("message")):
        if not isinstance(holder, dict):
            continue
        model = holder.get("model") or holder.get("modelVersion")
        call.answered_by = str(model) if model else call.answered_by
        usage = holder.get("usage") or holder.get("usageMetadata")
        if isinstance(usage, dict):
            call.tokens = _larger(call.tokens, usage)
    if str(document.get("type", "")).startswith("response.") and not str(document["type"]).endswith(".delta"):
        return  # the same words again
    call.text += "".join(_words({name: value for name, value in document.items() if name != "error"}))


def _larger(tokens: tuple[int, int], usage: dict[str, Any]) -> tuple[int, int]:
    names = (("prompt_tokens", "input_tokens", "promptTokenCount"),
             ("completion_tokens", "output_tokens", "candidatesTokenCount"))  # fmt: skip
    found = [max((usage[name] for name in each if isinstance(usage.get(name), int)), default=0) for each in names]
    return max(tokens[0], found[0]), max(tokens[1], found[1])


def _words(value: object, name: str = "") -> list[str]:
    if isinstance(value, str):
        return [value] if name in ("content", "text", "delta", "arguments") else []
    if isinstance(value, dict):
        return [word for key, inner in value.items() for word in _words(inner, key)]
    return [word for inner in value for word in _words(inner, name)] if isinstance(value, list) else []


def _prompt(mark: str, more: str = "") -> str:
    return f"{more}Reply with exactly this and nothing else: {mark}"


def _new(who: str, model: str, stream: bool) -> Call:
    return Call(who, model, stream, f"MARK-{secrets.token_hex(16)}")


def _progress(run: Run) -> None:
    if sys.stderr.isatty():
        print(f"\r  {len([c for c in run.calls if c.seconds])} of {run.total}", end="", file=sys.stderr, flush=True)


# -- the scenarios -----------------------------------------------------------------------------------------------------


async def concurrent(client: httpx.AsyncClient, run: Run, options: argparse.Namespace) -> None:
    """One key, many distinct questions at once, every other one streaming."""
    gate = asyncio.Semaphore(options.at_once)
    run.total = min(options.requests, LIMIT)

    async def ask_one(number: int) -> None:
        call = _new(f"request {number}", run.aim.models[0], number % 4 >= 2)
        async with gate:
            await one(client, run, call, [_prompt(call.mark)])

    await asyncio.gather(*(ask_one(number) for number in range(run.total)))


async def team(client: httpx.AsyncClient, run: Run, options: argparse.Namespace) -> None:
    """A team that shares one key: each member holds a conversation of its own, all at the same time."""
    size = min(options.team_size, 50)
    run.total = min(size * options.turns, LIMIT)

    async def member(number: int) -> None:
        turns: list[str] = []
        for turn in range(options.turns):
            call = _new(f"developer {number}", run.aim.models[0], turn % 2 == 1)
            turns.append(_prompt(call.mark, f"I am developer {number}. "))
            await one(client, run, call, turns)
            turns.append(call.text or "(no answer)")

    await asyncio.gather(*(member(number) for number in range(1, size + 1)))


async def models(client: httpx.AsyncClient, run: Run, options: argparse.Namespace) -> None:
    """Two models in turn, the next asked before the last has answered."""
    run.total = min(options.switches, LIMIT)
    pause = random.Random(options.seed)
    pending = []
    for number in range(run.total):
        call = _new(f"switch {number}", run.aim.models[number % len(run.aim.models)], number % 4 >= 2)
        pending.append(asyncio.ensure_future(one(client, run, call, [_prompt(call.mark)])))
        await asyncio.sleep(pause.uniform(0, 0.05))
    await asyncio.gather(*pending)


async def rapid(client: httpx.AsyncClient, run: Run, options: argparse.Namespace) -> None:
    """Twelve calls one after the other, with the sizes of a real session, then one small one again."""
    run.total = len(PATTERN) + 1
    for number, (size, words) in enumerate((*PATTERN, PATTERN[0]), 1):
        call = _new(f"call {number}", run.aim.models[0], number % 2 == 0)
        tail = f"\nWORDS-{max(1, words * 5 // 8)}\n{_prompt(call.mark)}"
        filler = (FILLER * (size * 4 // len(FILLER) + 1))[: max(0, size * 4 - len(tail) - 12)]
        await one(client, run, call, [filler + tail], words)


Scenario = Callable[[httpx.AsyncClient, Run, argparse.Namespace], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {"concurrent": concurrent, "team": team, "models": models, "rapid": rapid}


# -- running and reporting ---------------------------------------------------------------------------------------------


def hold(scenario: str, aim: Aim, options: argparse.Namespace) -> int:
    """Run *scenario* at *aim*, print its table, and return how many calls went wrong."""
    run = Run(aim)

    async def all_of_it() -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx.AsyncClient(timeout=aim.timeout, trust_env=False, limits=limits) as client:
            await asyncio.wait_for(SCENARIOS[scenario](client, run, options), options.seconds)

    try:
        asyncio.run(all_of_it())
    except TimeoutError:
        print(f"  stopped after {options.seconds:g} s")
    counts = run.judge()
    wrong = _table_of_twelve(run) if scenario == "rapid" else _table(run, counts)
    missing = run.total - len(run.calls)
    if missing:
        print(f"  {missing} calls were not made")
    return wrong + missing


def _table(run: Run, counts: Counter[str]) -> int:
    rows: dict[str, Counter[str]] = {}
    for call in run.calls:
        group = call.who if call.who.startswith("developer") else f"{call.model}{', streamed' if call.stream else ''}"
        rows.setdefault(group, Counter())[call.verdict] += 1
    print(f"\n  {'':28}{'own':>7}{'mixed':>7}{'odd':>7}{'failed':>7}")
    for group, found in sorted(rows.items()):
        print(f"  {group:28}" + "".join(f"{found[word]:7}" for word in ("own", "mixed", "odd", "failed")))
    for call in [call for call in run.calls if call.verdict == "mixed"][:5]:
        print(f"  MIXED: {call.who} got the answer to {call.owner}")
    for call in [call for call in run.calls if call.verdict == "failed"][:3]:
        print(f"  failed: {call.who}: {call.status or ''} {call.error}")
    others = [c for c in run.calls if c.verdict == "own" and c.answered_by and not _alike(c.model, c.answered_by)]
    if others:
        print(f"  {len(others)} answers name another model, as {others[0].answered_by} for {others[0].model}")
    answers = len(run.calls) - counts["failed"]
    print(f"  {answers} answers: {counts['own']} own, {counts['mixed']} mixed up; {counts['failed']} calls failed")
    return counts["mixed"] + counts["failed"] + (counts["odd"] if not counts["own"] else 0)


def _table_of_twelve(run: Run) -> int:
    print(f"\n  {'call':>4}{'status':>8}{'seconds':>9}{'in':>7}{'out':>6}{'total':>9}  whose answer")
    total, first = 0, 0
    for number, call in enumerate(run.calls, 1):
        total += sum(call.tokens)
        bad = call.verdict in ("failed", "mixed") or call.seconds > SLOWEST
        first = first or (number if bad else 0)
        told = call.error or ("slower than 30 s" if call.seconds > SLOWEST else call.verdict)
        sizes = f"{call.tokens[0]:7}{call.tokens[1]:6}{total:9}"
        print(f"  {number:4}{call.status:8}{call.seconds:9.2f}{sizes}  {told}")
    bad_calls = sum(call.verdict in ("failed", "mixed") or call.seconds > SLOWEST for call in run.calls)
    print(f"  {len(run.calls) - bad_calls}/{len(run.calls)} calls, {total} tokens", end="")
    print(f"; the first that failed is call {first}" if first else "")
    return bad_calls


def _alike(asked: str, answered: str) -> bool:
    plain = answered.lower().rpartition("/")[2]
    wanted = asked.lower().rpartition("/")[2]
    return plain.startswith(wanted) or wanted.startswith(plain)


def main() -> int:
    """Run what the command line names; 0 when nothing went wrong that should not."""
    options = _parser().parse_args()
    models_asked = tuple(options.model) or ("sim-large", "sim-small")
    if options.base_url:
        key = options.api_key or os.environ.get("OPENAI_API_KEY", "")
        print(f"{options.scenario}: {options.base_url}")
        aim = Aim(options.base_url, key, models_asked, options.dialect, options.timeout)
        return 1 if hold(options.scenario, aim, options) else 0
    return _simulated(options, models_asked)


def _simulated(options: argparse.Namespace, models_asked: tuple[str, ...]) -> int:
    from tests.end_to_end.harness import generic_config, proxy
    from tests.simulator import simulator_thread

    accounts = {"one": "sim-key-of-account-one", "two": "sim-key-of-account-two"}
    wrong = {}
    with ExitStack() as stack:
        sim = stack.enter_context(simulator_thread({key: name for name, key in accounts.items()}, echo="both"))
        sim.fault("shared_session", {"timeout": 0.4})
        places = {"bare": sim.url}
        if options.simulator in ("patchbay", "both"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchbay-scenario-")))
            settings = generic_config(folder, accounts)
            places["patchbay"] = stack.enter_context(proxy(folder, settings, "-q", mode=f"reverse:{sim.url}")).url
        for name in ("bare", "patchbay") if options.simulator == "both" else (options.simulator,):
            print(f"\n{options.scenario}: a provider that mixes up what shares a session, ", end="")
            print("bare" if name == "bare" else "with Patchbay in front")
            base = places[name] + ("/v1" if options.dialect in ("openai", "responses") else "")
            aim = Aim(base, accounts["one"], models_asked, options.dialect, options.timeout)
            wrong[name] = hold(options.scenario, aim, options)
    if options.simulator == "both":
        alone = options.scenario == "rapid"  # one call at a time: there is nothing to be mixed up with
        shown = alone or wrong["bare"] > 0
        if not alone:
            print(f"\n{'the mixing shows without Patchbay' if shown else 'nothing was mixed without it: no proof'}")
        print("with Patchbay every answer was its own" if not wrong["patchbay"] else "NOT SO with Patchbay")
        return 0 if shown and not wrong["patchbay"] else 1
    return 1 if wrong[options.simulator] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--base-url", help="e.g. https://api.example.com/v1; without it, a simulated provider")
    parser.add_argument("--api-key", default="", help="else $OPENAI_API_KEY")
    parser.add_argument("--model", action="append", default=[], help="once or more; `models` switches between them")
    parser.add_argument("--dialect", choices=("openai", "responses", "anthropic", "gemini"), default="openai")
    parser.add_argument("--simulator", choices=("bare", "patchbay", "both"), default="both")
    parser.add_argument("--requests", type=int, default=24, help="of `concurrent`")
    parser.add_argument("--at-once", type=int, default=8, help="of `concurrent`")
    parser.add_argument("--team-size", type=int, default=5, help="of `team`")
    parser.add_argument("--turns", type=int, default=4, help="of each member of the team")
    parser.add_argument("--switches", type=int, default=10, help="of `models`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds of silence in one call")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which the run is stopped")
    return parser


if __name__ == "__main__":
    sys.exit(main())
