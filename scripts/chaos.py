"""
Runs thousands of exchanges while accounts have bad episodes, and checks that nobody notices who need not.

Official SDKs and raw clients ask in four dialects, half of them streaming, through a real mitmdump. Every account of
the simulated provider is in an episode for 30 % of the time. What must hold is printed and checked at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from mitmproxy.io import FlowReader

from patchbay.values.decision import Decision
from scripts.chaos_clients import CLIENT, Heard, Turn, ask
from tests.end_to_end.dialogue import DIALECTS
from tests.end_to_end.harness import Proxy, eventually, generic_config, proxy
from tests.ports import free_port
from tests.simulator import Simulator, simulator_thread
from tests.simulator.faults import FAULTS
from tests.simulator.play import Play

EXCHANGES = 5000
CLIENTS = 12
SHARE = 0.3  # of an account's time that is bad
EPISODE = 2.0  # seconds, on average
REST = 7.0  # seconds after an episode in which an account may still be avoided
NAMES = {f"account-{n:02}": f"sk-chaos-{n:02}-0123456789abcdef" for n in range(12)}
LASTING = frozenset({"account-00", "account-01"})  # these may lose their credential or credit, for the rest of the run
NEVER = ("refused", "no-tls")  # nothing listens where they are, or nothing that speaks TLS

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "429 with a hint": ("status", {"status": 429, "retry_after": 2}),
    "429": ("status", {"status": 429}),
    "500": ("status", {"status": 500}),
    "503": ("status", {"status": 503}),
    "529": ("status", {"status": 529}),
    "reset before the head": ("reset_head", {}),
    "reset in a stream's head": ("reset_body", {"after": 0}),
    "closed before the head": ("close_head", {}),
    "slow head": ("delay_head", {"seconds": 30}),
    "empty stream": ("empty", {}),
    "error in the stream": ("stream_error", {}),
    "cut error": ("status", {"status": 500, "body": "x" * 300, "headers": {"content-length": "9000"}}),
}
LASTING_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "401": ("status", {"status": 401}),
    "402": ("status", {"status": 402}),
}


@dataclass
class Episodes:
    """When which account is bad, and how: drawn from a seed, extended as time goes on."""

    seed: int
    begun: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    drawn: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    struck: Counter[str] = field(default_factory=Counter)

    def of(self, account: str, until: float) -> list[tuple[float, float, str]]:
        """Return the episodes of *account* that begin before *until* (seconds into the run)."""
        found = self.drawn[account]
        while not found or found[-1][0] <= until:
            luck = random.Random(f"{self.seed}/{account}/{len(found)}")
            start = (found[-1][1] if found else 0.0) + luck.expovariate(SHARE / EPISODE / (1 - SHARE))
            kinds = list(KINDS | (LASTING_KINDS if account in LASTING else {}))
            found.append((start, start + luck.uniform(0.5, 1.5) * EPISODE, luck.choice(kinds)))
        return [each for each in found if each[0] <= until]

    def now(self) -> float:
        return time.monotonic() - self.begun

    def kind(self, account: str) -> str:
        """Return what is wrong with *account* now, or nothing."""
        now = self.now()
        return next((kind for start, end, kind in self.of(account, now) if start <= now < end), "")

    def could_serve(self, start: float, end: float) -> list[str]:
        """Return the accounts that were well during all of an exchange, and long enough before it to be known well."""
        well = []
        for account in NAMES:
            past = self.of(account, end)
            lost = any(kind in LASTING_KINDS for _, _, kind in past)
            if not lost and not any(until > start - REST for _, until, _ in past):
                well.append(account)
        return well

    async def strike(self, play: Play) -> None:
        """The one fault of the simulator: whatever the account is going through."""
        kind = self.kind(play.record.account)
        if kind:
            self.struck[kind] += 1
            name, settings = (KINDS | LASTING_KINDS)[kind]
            await FAULTS[name](play, **settings)


@dataclass
class Result:
    """What one client saw of one exchange."""

    started: float
    ended: float
    who: str
    failed: str = ""
    named: bool = True
    wrong: str = ""
    compared: bool = False  # its bytes with what was sent
    served: str = ""  # the request id of the answer; an SDK shows none


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of 5000 exchanges")
    options = parser.parse_args()
    count = max(40, int(EXCHANGES * options.scale))
    print(
        f"{count} exchanges, {len(NAMES)} accounts, each bad {SHARE:.0%} of the time, seed {options.seed}", flush=True
    )
    episodes = Episodes(options.seed)
    keys = {key: name for name, key in NAMES.items()}
    with (
        tempfile.TemporaryDirectory(prefix="patchbay-chaos-") as name,
        simulator_thread(keys, echo="both") as simulator,
    ):
        folder = Path(name)
        simulator.fault(episodes.strike)
        attempts = len(NAMES) + len(NEVER)  # one an account: fewer could all be spent on bad ones
        more = (
            f"failover: {{attempts: {attempts}, timeout: 20s, repeat_slow: all}}\n"  # a simulated answer costs nothing
            "providers: {generic: {timeouts: {connect: 1s, first_byte: 2s, idle: 5s}}}\n"
        )
        settings = generic_config(folder, NAMES, more=more).replace("base_url: reverse", f"base_url: '{simulator.url}'")
        for lost, url in zip(
            NEVER, (f"http://127.0.0.1:{free_port()}", f"https://127.0.0.1:{simulator.port}"), strict=True
        ):
            settings += f"  - {{id: {lost}, provider: generic, base_url: '{url}', key: sk-{lost}-0123}}\n"
        dump = folder / "flows.mitm"
        with proxy(folder, settings, "-q", "-w", str(dump), mode="reverse:http://patchbay.invalid") as through:
            results = run(through, simulator, episodes, count, options.seed)
            eventually(lambda: through.journal.count("\n") >= len(results))
        return report(folder, dump, through, simulator, episodes, results)


def run(through: Proxy, simulator: Simulator, episodes: Episodes, count: int, seed: int) -> list[Result]:
    """Let all clients ask until *count* exchanges are done."""
    results: list[Result] = []
    lock = threading.Lock()

    def client(number: int) -> None:
        luck = random.Random(f"{seed}/client/{number}")
        conversation = 0
        while len(results) < count:
            conversation += 1
            for result in converse(through, simulator, episodes, luck, f"{number}-{conversation}", number):
                with lock:
                    results.append(result)
                    if len(results) % 100 == 0:
                        print(f"  {len(results)} of {count}", end="\r", flush=True)
                if len(results) >= count:
                    return

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    print()
    return results


def converse(
    through: Proxy, simulator: Simulator, episodes: Episodes, luck: random.Random, name: str, number: int
) -> Iterator[Result]:
    """Hold one conversation of a few turns, with an SDK or with plain requests."""
    turns: list[str] = []
    raw, dialect = number % 3 != 0, DIALECTS[number % 4]
    headers = {"x-session-id": f"chaos-{name}"} if luck.random() < 0.5 else {}
    for turn in range(luck.randint(2, 5)):
        turns.append(f"conversation {name}, turn {turn}: go on")
        asked = Turn(through.url, dialect, headers, turns, luck.random() < 0.5, raw)
        started = episodes.now()
        heard = ask(asked)
        who = f"{'raw' if raw else 'sdk'} {dialect}"
        ended, mistake = episodes.now(), wrong(simulator, heard)
        yield Result(started, ended, who, heard.failed, heard.named, mistake, bool(heard.digest), heard.served)
        if heard.failed:
            return
        turns.append(heard.text)


def wrong(simulator: Simulator, heard: Heard) -> str:
    """Say whether the bytes of an answer are other ones than its upstream sent."""
    if heard.failed or not heard.digest:
        return ""
    record = next((each for each in reversed(simulator.truth.requests) if each.received_id == heard.served), None)
    same = record is not None and record.sent_digest == heard.digest
    return "" if same else f"the bytes of {heard.served} are not those that were sent"


def report(
    folder: Path, dump: Path, through: Proxy, simulator: Simulator, episodes: Episodes, results: list[Result]
) -> int:
    """Print what was seen and what held; return the exit code."""
    lines = [msgspec.json.decode(line, type=Decision) for line in through.journal.splitlines()]
    failed = [result for result in results if result.failed]
    needless = [result for result in failed if episodes.could_serve(result.started, result.ended)]
    compared = sum(result.compared for result in results)
    moved = sum(len(line.attempts) > 1 for line in lines)
    print(f"\nfaults met: {', '.join(f'{kind} {n}' for kind, n in sorted(episodes.struck.items()))}")
    print(f"exchanges {len(results)}, moved to another account {moved}, failed {len(failed)}")
    for result in sorted(failed, key=lambda each: (each not in needless, each.named))[:10]:
        print(f"  {result.who}: {result.failed} (well then: {len(episodes.could_serve(result.started, result.ended))})")
        print(told(result, episodes, lines))
    with dump.open("rb") as file:
        flows = sum(1 for _ in FlowReader(file).stream())
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml")
    bound = wrong_bindings(lines)
    tried = {attempt.account for line in lines for attempt in line.attempts}
    for session in bound:
        print(f"  wrong binding of {session}:")
        for line in (line for line in lines if line.session == session):
            print("   ", json.dumps(line.encoded()))
    claims = [
        (not needless, f"no exchange failed while an account could serve ({len(needless)} did)"),
        (all(result.named for result in failed), "every other failure names its bound"),
        (
            compared > 0 and not any(result.wrong for result in results),
            f"every body is byte for byte what the serving upstream sent ({compared} of plain clients compared)",
        ),
        (not bound, f"no wrong binding ({len(bound)})"),
        (
            len(results) == len(lines) == flows,
            f"one flow and one line per exchange ({len(results)} asked, {flows} flows, {len(lines)} lines)",
        ),
        (not any(key.encode() in everything for key in (*NAMES.values(), CLIENT)), "real keys are nowhere"),
        (moved > 0 and len(episodes.struck) > 5 and tried.issuperset(NEVER), "the faults really happened"),
    ]
    for holds, text in claims:
        print(f"  {'✓' if holds else '✗ NOT SO:'} {text}")
    return 0 if all(holds for holds, _ in claims) else 1


def told(result: Result, episodes: Episodes, lines: list[Decision]) -> str:
    """Say where a failed exchange went, and when the accounts that were well had been bad before."""
    ended = episodes.wall + result.ended
    its = [line for line in lines if result.served in [attempt.request_id for attempt in line.attempts]]
    near = its or sorted(lines, key=lambda line: abs(line.time + line.duration_seconds - ended))[:1]
    tried = [f"{one.account} {one.outcome} {one.seconds:.1f}s" for line in near for one in line.attempts]
    well = {
        name: [f"{until - result.started:+.1f}s {kind}" for _, until, kind in episodes.of(name, result.started)[-3:]]
        for name in episodes.could_serve(result.started, result.ended)
    }
    return f"    {result.ended - result.started:.1f} s at {result.started:.0f} s: {', '.join(tried)}; well: {well}"


def wrong_bindings(lines: list[Decision]) -> list[str]:
    """Return the sessions that were bound to an account that had not answered them before."""
    answered: dict[str, set[str]] = defaultdict(set)
    wrong = []
    for line in sorted(lines, key=lambda line: line.time):
        before = answered[line.session]
        # both are said of the last attempt: a home may come back while others stand in for it
        if line.binding == "hit" and line.session and before and line.account not in before:
            wrong.append(line.session)
        if not line.error:
            before.add(line.account)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
