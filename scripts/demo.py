"""
Shows the main job with everything real but the provider, and checks each claim it makes.

Twelve conversations of four turns go through the official SDKs and a real mitmdump to a simulated provider that knows
four accounts and keeps a prompt cache for each: once with Patchbay's stickiness, once with plain round robin. Then two
answers are exchanged on purpose.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
from google import genai
from google.genai import types

from tests.end_to_end.harness import Proxy, eventually, generic_config, proxy
from tests.simulator import Simulator, simulator_thread

ACCOUNTS = {name: f"demo-credential-of-{name}" for name in ("amber", "birch", "cedar", "dune")}
CONVERSATIONS, TURNS = 12, 4
ROUND_ROBIN = "strategy: round_robin\nsessions: {order: []}"
TOPICS = tuple("tides bridges bread glaciers violins beetles maps clocks deserts paper salt kites".split())


@dataclass
class Conversation:
    """One conversation as its client sees it."""

    number: int
    api: str
    named: bool
    turns: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.number:2} {TOPICS[self.number % len(TOPICS)]}"

    @property
    def session(self) -> str:
        return f"demo-{self.number}" if self.named else ""


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    started = time.monotonic()
    claims: list[tuple[bool, str]] = []

    def claim(holds: bool, text: str) -> None:
        claims.append((holds, text))
        say(f"  {'✓' if holds else '✗ NOT SO:'} {text}")

    with tempfile.TemporaryDirectory(prefix="patchbay-demo-") as folder:
        keys = {key: name for name, key in ACCOUNTS.items()}
        with simulator_thread(keys, echo="both") as simulator:
            say(f"a simulated provider listens on {simulator.url} and knows {len(ACCOUNTS)} accounts")
            with running(Path(folder) / "sticky", simulator, "") as patchbay:
                sticky = hold_all(patchbay, simulator, "with Patchbay")
                show_conversations(sticky, simulator)
                check_stickiness(sticky, simulator, claim)
                show_ids(patchbay, simulator, claim)
                exchange_two(patchbay, simulator, claim)
            warm = cached_share(simulator, lambda record: record.header("x-demo") != "")
            simulator.reset()
            with running(Path(folder) / "robin", simulator, ROUND_ROBIN) as plain:
                hold_all(plain, simulator, "with plain round robin, for comparison")
            cold = cached_share(simulator, lambda record: record.header("x-demo") != "")
    say("\nprompt tokens read from the provider's cache")
    say(f"  Patchbay     {bar(warm)} {warm:6.1%}\n  round robin  {bar(cold)} {cold:6.1%}")
    claim(warm > 2 * cold, "stickiness reads more than twice as much from the cache")
    failed = [text for holds, text in claims if not holds]
    say(f"\n{len(claims) - len(failed)} of {len(claims)} claims hold ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


@contextmanager
def running(folder: Path, simulator: Simulator, more: str) -> Iterator[Proxy]:
    """Run a mitmdump with the addon on an embedded configuration."""
    settings = generic_config(folder, ACCOUNTS, more=more)
    with proxy(folder, settings, "-q", mode=f"reverse:{simulator.url}") as started:
        say(f"\nmitmdump -s addon/main.py listens on {started.url}")
        yield started


def hold_all(through: Proxy, simulator: Simulator, how: str) -> list[Conversation]:
    """Hold all conversations, some at once, turn by turn."""
    apis = list(TURN_OF)
    everyone = [Conversation(n, apis[n % len(apis)], n % 8 < 4) for n in range(CONVERSATIONS)]
    with ThreadPoolExecutor(4) as pool:
        for turn in range(TURNS):
            list(pool.map(partial(take_turn, through=through, turn=turn), everyone))
            say(f"  {how}: turn {turn + 1} of {TURNS}, {len(simulator.truth.requests)} requests", end="\r")
    say("")
    return everyone


def take_turn(conversation: Conversation, through: Proxy, turn: int) -> None:
    """Ask one more question; every other turn streams."""
    about = TOPICS[conversation.number % len(TOPICS)]
    conversation.turns.append(f"Question {turn + 1} about {about}: please go on, in detail, with what came before")
    headers = {"x-demo": str(conversation.number)}
    if conversation.named:
        headers["X-Session-ID"] = conversation.session
    answer = TURN_OF[conversation.api](through.url, headers, conversation.turns, turn % 2 == 1)
    conversation.turns.append(answer)


def roles(turns: list[str]) -> Any:  # what each SDK calls otherwise
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]


def openai_chat(url: str, headers: dict[str, str], turns: list[str], stream: bool) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="the-client-s-own", default_headers=headers) as client:
        messages = roles(turns)
        if not stream:
            return client.chat.completions.create(model="sim-large", messages=messages).choices[0].message.content or ""
        pieces = client.chat.completions.create(model="sim-large", messages=messages, stream=True)
        return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def openai_responses(url: str, headers: dict[str, str], turns: list[str], stream: bool) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="the-client-s-own", default_headers=headers) as client:
        if not stream:
            return client.responses.create(model="sim-large", input=roles(turns)).output_text
        events = client.responses.create(model="sim-large", input=roles(turns), stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def anthropic_messages(url: str, headers: dict[str, str], turns: list[str], stream: bool) -> str:
    with anthropic.Anthropic(base_url=url, api_key="the-client-s-own", default_headers=headers) as client:
        asked: dict[str, Any] = {"model": "sim-large", "max_tokens": 200, "messages": roles(turns)}
        if not stream:
            return "".join(block.text for block in client.messages.create(**asked).content if block.type == "text")
        with client.messages.stream(**asked) as answer:
            return "".join(answer.text_stream)


def google_genai(url: str, headers: dict[str, str], turns: list[str], stream: bool) -> str:
    client = genai.Client(api_key="the-client-s-own", http_options=types.HttpOptions(base_url=url, headers=headers))
    contents: list[types.ContentUnion] = [
        types.Content(role=("user", "model")[n % 2], parts=[types.Part(text=text)]) for n, text in enumerate(turns)
    ]
    if not stream:
        return client.models.generate_content(model="sim-large", contents=contents).text or ""
    pieces = client.models.generate_content_stream(model="sim-large", contents=contents)
    return "".join(piece.text or "" for piece in pieces)


TURN_OF: dict[str, Callable[[str, dict[str, str], list[str], bool], str]] = {
    "openai chat": openai_chat,
    "openai responses": openai_responses,
    "anthropic": anthropic_messages,
    "google-genai": google_genai,
}


def show_conversations(everyone: list[Conversation], simulator: Simulator) -> None:
    say(f"  {'conversation':15}{'SDK':18}{'named by':16}{'account of each turn':32}from cache")
    for each in everyone:
        accounts = accounts_of(each, simulator)
        share = cached_share(simulator, lambda record, each=each: record.header("x-demo") == str(each.number))
        named = "X-Session-ID" if each.named else "its content"
        say(f"  {each.title:15}{each.api:18}{named:16}{' '.join(accounts):32}{share:6.1%}")


def check_stickiness(everyone: list[Conversation], simulator: Simulator, claim: Callable[[bool, str], None]) -> None:
    used = {each.number: set(accounts_of(each, simulator)) for each in everyone}
    count = len(simulator.truth.requests)
    claim(count == CONVERSATIONS * TURNS, f"{CONVERSATIONS} conversations of {TURNS} turns arrived: {count} requests")
    claim(all(len(where) == 1 for where in used.values()), "every conversation stayed on one account")
    load = Counter(next(iter(where)) for where in used.values())
    claim(len(load) > 1, f"and they are spread: {', '.join(f'{name} {n}' for name, n in sorted(load.items()))}")
    seen = json.dumps([record.headers for record in simulator.truth.requests])
    claim("the-client-s-own" not in seen, "the client's own key went nowhere")


def show_ids(through: Proxy, simulator: Simulator, claim: Callable[[bool, str], None]) -> None:
    eventually(lambda: through.journal.count("\n") >= CONVERSATIONS * TURNS)
    lines = {line["request_id"]: line for line in map(json.loads, through.journal.splitlines())}
    say("\nrequest ids, as they went up and came back")
    for record in simulator.truth.requests[:4]:
        line = lines.get(record.received_id, {})
        say(f"  {record.received_id}  {line.get('account', '?'):6} {line.get('verdict', '?')} ({line.get('echo', '')})")
    sent = [record.received_id for record in simulator.truth.requests]
    claim(len(set(sent)) == len(sent), f"all {len(sent)} are different")
    claim(all(identifier in lines for identifier in sent), "every one of them stands in the journal")
    claim({line["verdict"] for line in lines.values()} == {"clean"}, "every answer gave its own id back: clean")


def exchange_two(through: Proxy, simulator: Simulator, claim: Callable[[bool, str], None]) -> None:
    say("\nnow two answers are exchanged on purpose")
    before = len(simulator.truth.requests)
    simulator.fault("swap", {"timeout": 30.0}, times=2)

    def ask(who: str) -> httpx.Response:
        return httpx.post(
            f"{through.url}/v1/chat/completions",
            json={"model": "sim-large", "messages": [{"role": "user", "content": f"who am I? {who}"}]},
            headers={"authorization": "Bearer the-client-s-own", "x-session-id": who},
            timeout=60,
            trust_env=False,
        )

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, ("alice", "bob")))
    simulator.mend()
    pair = simulator.truth.requests[before:]
    eventually(lambda: through.log.count("event_type=crosstalk") >= 2)
    for line in through.log.splitlines():
        if "event_type=crosstalk" in line:
            say("  " + line.strip()[:220])
    claim(len(pair) == 2 and all(record.is_victim for record in pair), "the provider really did exchange them")
    verdicts = [answer.headers.get("x-patchbay-verdict") for answer in answers]
    claim(verdicts == ["crosstalk", "crosstalk"], "both clients are told: X-Patchbay-Verdict: crosstalk")
    eventually(lambda: through.journal.count("\n") >= before + 2)
    lines = {line["request_id"]: line for line in map(json.loads, through.journal.splitlines())}
    first, second = (lines[record.received_id] for record in pair)
    claim(
        first["victim"] == second["exchange"] and second["victim"] == first["exchange"],
        "each flag names the other exchange as the victim",
    )


def accounts_of(conversation: Conversation, simulator: Simulator) -> list[str]:
    told = str(conversation.number)
    return [record.account for record in simulator.truth.requests if record.header("x-demo") == told]


def cached_share(simulator: Simulator, which: Callable[..., bool]) -> float:
    records = [record for record in simulator.truth.requests if which(record)]
    return sum(record.cached_tokens for record in records) / max(1, sum(record.prompt_tokens for record in records))


def bar(share: float) -> str:
    return ("█" * round(share * 30)).ljust(30, "·")


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main())
