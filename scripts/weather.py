"""
Random weather: accounts fail in 16 ways while conversations go on, over HTTP/1 and HTTP/2 on both sides.

Every account of a simulated provider is in a bad episode for one part in twelve of the time. Nobody may notice who need
not: no turn fails while an account can serve, and few later turns find nothing of theirs in the prompt cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trustme

from patchbay.answer.reader import AnswerReader
from patchbay.values import header_names
from patchbay.values.answer import Head
from patchbay.values.http import Headers
from tests.end_to_end.dialogue import DIALECTS, body, credential, path
from tests.end_to_end.harness import Proxy, generic_config, proxy
from tests.simulator import Simulator, simulator_thread
from tests.simulator.faults import FAULTS
from tests.simulator.play import Play

TURNS = 5000  # of one run
POOLS, SEEDS = (4, 12), (1, 2, 3)
TALKING = 24  # conversations at once
SHARE = 0.08  # of an account's time that is bad
EPISODE = 2.0  # seconds, on average
PAUSE = 0.6  # seconds between two turns of a conversation, on average
LENGTH = (8, 24)  # turns of a conversation
COLD = 0.04  # of the later turns, at most
REST, LONG_REST = 7.0, 35.0  # seconds after an episode in which an account may still be avoided; after a refused key
TIMEOUT = 90.0
CLIENT = "sk-client-of-weather-0123456789"
PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
HTML = {"content-type": "text/html"}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "429 with a hint": ("status", {"status": 429, "retry_after": 2}),
    "429": ("status", {"status": 429}),
    "401": ("status", {"status": 401}),
    "402": ("status", {"status": 402}),
    "403": ("status", {"status": 403}),
    "403 challenge page": ("status", {"status": 403, "body": PAGE, "headers": HTML | {"cf-mitigated": "challenge"}}),
    "500": ("status", {"status": 500}),
    "502 page": ("status", {"status": 502, "body": PAGE, "headers": HTML}),
    "503": ("status", {"status": 503}),
    "529": ("status", {"status": 529}),
    "200 page": ("status", {"status": 200, "body": PAGE, "headers": HTML}),
    "reset before the head": ("reset_head", {}),
    "closed before the head": ("close_head", {}),
    "reset in a stream's head": ("reset_body", {"after": 0}),
    "empty stream": ("empty", {}),
    "error in the stream": ("stream_error", {}),
}
LASTING = frozenset({"401", "402", "403"})


@dataclass
class Weather:
    """When which account is bad, and how: drawn from a seed, extended as time goes on."""

    seed: int
    accounts: tuple[str, ...]
    begun: float = field(default_factory=time.monotonic)
    drawn: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    struck: Counter[str] = field(default_factory=Counter)

    def now(self) -> float:
        return time.monotonic() - self.begun

    def of(self, account: str, until: float) -> list[tuple[float, float, str]]:
        """Return the episodes of *account* that begin before *until* (seconds into the run): (begin, end, kind)."""
        found = self.drawn[account]
        while not found or found[-1][0] <= until:
            luck = random.Random(f"{self.seed}/{account}/{len(found)}")
            start = (found[-1][1] if found else 0.0) + luck.expovariate(SHARE / EPISODE / (1 - SHARE))
            found.append((start, start + luck.uniform(0.5, 1.5) * EPISODE, self._kind(account, len(found))))
        return [each for each in found if each[0] <= until]

    def _kind(self, account: str, number: int) -> str:
        """Return what the *number*-th episode of *account* is: all kinds come in turn, in an order of the seed's."""
        order = random.Random(self.seed).sample(list(KINDS), len(KINDS))
        return order[(number * len(self.accounts) + self.accounts.index(account)) % len(order)]

    def kind(self, account: str) -> str:
        """Return what is wrong with *account* now, or nothing."""
        now = self.now()
        return next((kind for start, end, kind in self.of(account, now) if start <= now < end), "")

    def could_serve(self, start: float, end: float) -> list[str]:
        """Return the accounts that were well during all of a turn, and long enough before it to be known well."""
        return [
            account
            for account in self.accounts
            if all(over + (LONG_REST if kind in LASTING else REST) <= start for _, over, kind in self.of(account, end))
        ]

    async def strike(self, play: Play) -> None:
        """The one fault of the simulator: whatever the account is going through."""
        if kind := self.kind(play.record.account):
            self.struck[kind] += 1
            name, settings = KINDS[kind]
            await FAULTS[name](play, **settings)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a client saw of one turn: *failed* says why it got no answer. Times are seconds into the run."""

    started: float
    ended: float
    where: str
    failed: str = ""
    served: str = ""  # the request id of the answer
    later: bool = False  # not the first of its conversation


class OnlyHttp2(ssl.SSLContext):
    """Offers nothing but HTTP/2 and trusts every certificate; httpx would offer HTTP/1.1 first."""

    def __new__(cls) -> OnlyHttp2:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        return made

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"])


class Run:
    """One run: one seed, one size of the pool."""

    def __init__(self, weather: Weather, urls: tuple[str, str], turns: int) -> None:
        self.turns: list[Turn] = []
        self._weather = weather
        self._urls = urls
        self._left = turns

    async def go(self) -> list[Turn]:
        """Hold conversations until all turns are done."""
        limits = httpx.Limits(max_connections=TALKING, max_keepalive_connections=TALKING)
        opened = partial(httpx.AsyncClient, limits=limits, timeout=TIMEOUT, trust_env=False)
        async with (
            opened(base_url=self._urls[0]) as one,
            opened(base_url=self._urls[1], verify=OnlyHttp2(), http2=True) as two,
        ):
            await asyncio.gather(*(self._talk((one, two)[n % 2], n) for n in range(TALKING)))
        return self.turns

    async def _talk(self, asking: httpx.AsyncClient, number: int) -> None:
        luck = random.Random(f"{self._weather.seed}/client/{number}")
        conversation = 0
        while self._left > 0:
            conversation += 1
            await self._converse(asking, luck, number, f"{number}-{conversation}")

    async def _converse(self, asking: httpx.AsyncClient, luck: random.Random, number: int, name: str) -> None:
        dialect, said = DIALECTS[number // 2 % 4], list[str]()
        headers = credential(dialect, CLIENT)
        if luck.random() < 0.5:
            headers["x-session-id"] = f"weather-{name}"
        for turn in range(luck.randint(*LENGTH)):
            if self._left <= 0:
                return
            self._left -= 1
            said.append(f"conversation {name}, turn {turn}: go on")
            stream = luck.random() < 0.5
            answer = await self._ask(asking, dialect, headers, said, stream, later=turn > 0)
            if not answer:
                return
            said.append(answer)
            await asyncio.sleep(luck.expovariate(1 / PAUSE))

    async def _ask(
        self,
        asking: httpx.AsyncClient,
        dialect: str,
        headers: dict[str, str],
        said: list[str],
        stream: bool,
        later: bool,
    ) -> str:
        """Ask one turn, note what came of it and return the words of the answer."""
        started = self._weather.now()
        try:
            answer = await asking.post(
                path(dialect, stream=stream), json=body(dialect, said, stream=stream), headers=headers
            )
            text, failed, served = heard(dialect, answer)
        except Exception as e:  # httpx lets some of anyio's through, when its connection is closed while it writes
            text, failed, served = "", repr(e), ""
        where = f"{asking.base_url.scheme} {dialect}{' stream' if stream else ''}"
        self.turns.append(Turn(started, self._weather.now(), where, failed, served, later))
        if len(self.turns) % 100 == 0:
            print(f"  {len(self.turns)} turns", end="\r", flush=True)
        return text


def heard(dialect: str, answer: httpx.Response) -> tuple[str, str, str]:
    """Return what the assistant said, or why there is no answer, and the id of the request that was answered."""
    served = answer.headers.get(header_names.REQUEST_ID, "")
    if answer.status_code >= 400:
        return "", f"{answer.status_code} {answer.text[:300]}", served
    if '"error":{' in answer.text.replace(" ", ""):
        return "", f"an error in the answer: {answer.text[-300:]}", served
    reader = AnswerReader(dialect)
    facts = [*reader.head(Head(200, Headers(answer.headers.items()))), *reader.feed(answer.content), *reader.end()]
    text = next((str(fact.value) for fact in facts if fact.kind == "text"), "")
    return text, "" if text else f"no words: {answer.text[:300]}", served


def run(seed: int, accounts: int, count: int, met: Counter[str]) -> bool:
    """Let one run happen, print what was seen and add the faults to *met*; return whether all is as it must be."""
    names = tuple(f"account-{number:02}" for number in range(accounts))
    keys = {f"sk-weather-{name}-0123456789": name for name in names}
    weather = Weather(seed, names)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchbay-weather-")))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "providers.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        provider = {"tls": folder / "server.pem", "echo": "both", "bodies": False}
        simulators = [
            stack.enter_context(simulator_thread(keys, http2=http2, seed=seed, **provider)) for http2 in (False, True)
        ]
        for simulator in simulators:
            simulator.fault(weather.strike)
        trusted = ("--set", f"ssl_verify_upstream_trusted_ca={folder / 'providers.pem'}")
        running = stack.enter_context(
            proxy(folder, settings(folder, keys, simulators), *trusted, mode="reverse:https://patchbay.invalid")
        )
        weather.begun = time.monotonic()
        urls = running.url, running.url.replace("http:", "https:")
        turns = asyncio.run(Run(weather, urls, count).go())
        took = weather.now()
        met.update(weather.struck)
        return report(f"seed {seed}, {accounts} accounts", turns, took, weather, simulators, running)


def settings(folder: Path, keys: dict[str, str], simulators: list[Simulator]) -> str:
    """Return a configuration in which every other account is at the provider that speaks HTTP/2."""
    rows = generic_config(folder, {name: key for key, name in keys.items()}).splitlines()
    accounts = iter(keys)
    for at, row in enumerate(rows):
        if "base_url: reverse" in row:
            number = list(keys).index(next(accounts))
            rows[at] = row.replace("base_url: reverse", f"base_url: 'https://localhost:{simulators[number % 2].port}'")
    return "\n".join(rows) + "\n"


def report(
    title: str, turns: list[Turn], took: float, weather: Weather, simulators: list[Simulator], running: Proxy
) -> bool:
    """Print what was seen; return whether it is as it must be."""
    records = {record.received_id: record for simulator in simulators for record in simulator.truth.requests}
    failed = [turn for turn in turns if turn.failed]
    needless = [turn for turn in failed if weather.could_serve(turn.started, turn.ended)]
    later = [turn for turn in turns if turn.later and not turn.failed]
    cold = [turn for turn in later if (found := records.get(turn.served)) and not found.cached_tokens]
    spoken = Counter(record.http for record in records.values())
    ways = Counter(turn.where.split()[0] for turn in turns)
    lines = [json.loads(line) for line in running.journal.splitlines()]
    moved = sum(len(line["attempts"]) > 1 for line in lines)
    share = len(cold) / max(1, len(later))
    print(f"{title}: {len(turns)} turns in {took:.0f} s ({dict(ways)} to the proxy, {dict(spoken)} upstream)")
    print(f"  faults met: {', '.join(f'{kind} {count}' for kind, count in sorted(weather.struck.items()))}")
    print(f"  {moved} exchanges took more than one attempt; {len(failed)} failed, {len(needless)} of them while an")
    print(f"  account could serve; {len(cold)} of {len(later)} later turns were cold: {share:.1%}", flush=True)
    for turn in sorted(failed, key=lambda each: each not in needless)[:5]:
        well = weather.could_serve(turn.started, turn.ended)
        print(f"  at {turn.started:.1f} s, {turn.ended - turn.started:.1f} s, {turn.where}, well {well}: {turn.failed}")
    good = not needless and share <= COLD and len(spoken) == len(ways) == 2
    print(f"  {'so' if good else 'NOT SO'}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed instead of three")
    parser.add_argument("--accounts", type=int, help="one size of the pool instead of two")
    parser.add_argument("--scale", type=float, default=1.0, help="of 5000 turns")
    options = parser.parse_args()
    seeds = SEEDS if options.seed is None else (options.seed,)
    pools = POOLS if options.accounts is None else (options.accounts,)
    count = max(50, int(TURNS * options.scale))
    met = Counter[str]()
    held = [run(seed, accounts, count, met) for accounts in pools for seed in seeds]
    print(f"{len(met)} of {len(KINDS)} kinds of faults were met")
    every = len(met) == len(KINDS) or len(seeds) < len(SEEDS) or count < TURNS
    return 0 if all(held) and every else 1


if __name__ == "__main__":
    sys.exit(main())
