"""Whether transcripts hold all of recorded exchanges, survive broken bodies, and are made in time."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mitmproxy import http, io
from mitmproxy.contentviews import Metadata, json_view

from patchbay import dialects
from patchbay.answer.sse import ServerSentEvents
from patchbay.body import decoded
from patchbay.transcript import of_answer, of_messages, of_request
from patchbay.transcript.reading import Reader
from patchbay.values.http import Endpoint
from patchbay.values.transcript import Transcript
from tests.transcript.completeness import missing
from tests.transcript.samples import SAMPLES, Sample, request_of

SLOW = 1.0  # seconds of the processor for one broken body
SIZE, WORDS = 5_000_000, 150  # of a request, in bytes, and of each text in it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/transcripts", description=__doc__)
    parser.add_argument("flows", nargs="*", type=Path, help="files that mitmdump has written")
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="read N broken bodies")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--time", action="store_true", help="measure requests of 5 MB")
    asked = parser.parse_args(arguments)
    samples = [sample for file in asked.flows for sample in recorded(file)]
    good = all([check(samples) if samples else True, not asked.fuzz or fuzz(asked.fuzz, samples, asked.seed)])
    if asked.time:
        measure()
    return 0 if good else 1


# -- recorded exchanges


def recorded(file: Path) -> Iterator[Sample]:
    """Yield the bodies of the exchanges in *file*."""
    with file.open("rb") as stream:
        for flow in io.FlowReader(stream).stream():
            if isinstance(flow, http.HTTPFlow):
                at = dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0])
                if at.dialect:
                    yield from _bodies(flow, at)


def _bodies(flow: http.HTTPFlow, at: Endpoint) -> Iterator[Sample]:
    name = flow.request.headers.get("user-agent", "").partition("/")[0][:20] or "?"
    if body := flow.request.content:
        yield Sample(f"{name} request", at.dialect, at.suffix, "application/json", body, is_request=True)
    if flow.websocket:
        said: list[bytes] = []
        for message in flow.websocket.messages:
            if not message.from_client:
                said.append(message.content)
                continue
            if said:
                yield Sample(f"{name} messages", at.dialect, at.suffix, "", b"", messages=tuple(said))
            said = []
            yield Sample(f"{name} message", at.dialect, at.suffix, "", message.content, is_request=True)
        yield Sample(f"{name} messages", at.dialect, at.suffix, "", b"", messages=tuple(said))
    elif flow.response and (body := flow.response.content):
        kind = flow.response.headers.get("content-type", "")
        yield Sample(f"{name} answer", at.dialect, at.suffix, kind, body)


def check(samples: Sequence[Sample]) -> bool:
    """Print whether each text and number of *samples* is in its transcript."""
    counts: Counter[tuple[str, str]] = Counter()
    lost: list[str] = []
    for sample in samples:
        found = read(sample)
        counts[sample.name, sample.dialect] += 1
        lost += [
            f"{sample.name} {sample.dialect}: {name} {str(value)[:60]!r}" for name, value in lost_of(sample, found)
        ]
        lost += [f"{sample.name} {sample.dialect}: not read: {detail.name}" for detail in found.other]
    for (name, dialect), number in sorted(counts.items()):
        print(f"{number:6}  {name}, {dialect}")
    print(
        f"{len(lost)} of {len(samples)} bodies lost something" if lost else f"nothing of {len(samples)} bodies is lost"
    )
    print(*lost[:20], sep="\n")
    return not lost


def lost_of(sample: Sample, found: Transcript) -> list[tuple[str, str | int | float]]:
    return [each for value in _values(sample) for each in missing(value, found) if each[1] != "in_progress"]


def _values(sample: Sample) -> list[Any]:
    if sample.messages:
        return [decoded(message) for message in sample.messages]
    if "event-stream" not in sample.content_type:
        return [decoded(sample.body)]
    stream = ServerSentEvents(limit=len(sample.body) + 1)
    values = [decoded(event.data) for event in (*stream.feed(sample.body), *stream.end())]
    return [value for value in values if isinstance(value, dict)]


def read(sample: Sample) -> Transcript:
    if sample.messages:
        return of_messages(sample.messages, sample.dialect, sample.suffix)
    of_body = of_request if sample.is_request else of_answer
    return of_body(sample.body, sample.dialect, sample.suffix, sample.content_type)


# -- broken bodies


def fuzz(number: int, samples: Sequence[Sample], seed: int) -> bool:
    """Read *number* broken bodies; print what failed, also where the reader had caught it, and the slowest."""
    chance, began, slowest = random.Random(seed), time.perf_counter(), 0.0
    seeds = [*(sample for sample in samples if len(sample.body) < 200_000), *SAMPLES]
    names = ["", *dialects.BY_NAME]
    caught: Counter[str] = Counter()
    setattr(Reader, "guarded", _guarded_into(caught))  # noqa: B010
    for _ in range(number):
        sample = chance.choice(seeds)
        body = broken(sample.body or b"\n".join(sample.messages), chance, seeds)
        dialect = sample.dialect if chance.random() < 0.8 else chance.choice(names)
        kind = chance.choice([sample.content_type, "application/json", "text/event-stream", ""])
        at = time.process_time()
        for of_body in (of_request, of_answer):
            of_body(body, dialect, sample.suffix, kind)
        of_messages(body.split(b"\n"), dialect)
        slowest = max(slowest, time.process_time() - at)
    print(f"{number} broken bodies in {time.perf_counter() - began:.0f} s, the slowest in {slowest * 1000:.0f} ms")
    print(*(f"{times:6}  {what}" for what, times in caught.most_common()), sep="\n")
    return not caught and slowest < SLOW


def _guarded_into(caught: Counter[str]) -> Callable[[Reader, Callable[[], Transcript]], Transcript]:
    guarded = Reader.guarded

    def watched(reader: Reader, read: Callable[[], Transcript]) -> Transcript:
        def noted() -> Transcript:
            try:
                return read()
            except RecursionError:  # nested more deeply than any reader can follow: shown as it is
                raise
            except Exception as e:
                at = traceback.extract_tb(e.__traceback__)[-1]
                caught[f"{type(e).__name__} at {Path(at.filename).name}:{at.lineno}"] += 1
                raise

        return guarded(reader, noted)

    return watched


def broken(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    """Return *body* with one or several faults."""
    for _ in range(chance.randint(1, 3)):
        body = chance.choice(FAULTS)(body, chance, seeds)
    return body


def _cut(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    return body[: chance.randint(0, len(body))]


def _bytes(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.choice(b'{}[]",:\\0e\x00\xff\n')
    return bytes(changed)


def _types(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    lines = body.split(b"\n")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        prefix, brace, text = lines[at].partition(b"{")
        value = decoded(brace + text)
        if isinstance(value, dict):
            lines[at] = prefix + json.dumps(_mistyped(value, chance)).encode()
    return b"\n".join(lines)


def _mistyped(value: Any, chance: random.Random, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and value and chance.random() < 0.8:
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        at = chance.choice([*copy]) if isinstance(copy, dict) else chance.randrange(len(copy))
        copy[at] = _mistyped(copy[at], chance, depth + 1)
        return copy
    odd = [
        "odd",
        "\ud800",
        4711,
        0.25,
        10**400,
        True,
        None,
        [],
        {},
        [[]],
        ["odd"],
        {"odd": "words"},
        [{"type": 1}],
        [None],
    ]
    return chance.choice(odd) if chance.random() < 0.9 else json.loads("[" * 200 + "]" * 200)


def _mixed(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    other = chance.choice(seeds).body
    return body[: chance.randint(0, len(body))] + other[chance.randint(0, len(other)) :]


def _shuffled(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    events = body.split(b"\n\n")
    chance.shuffle(events)
    return b"\n\n".join(events)


def _deep(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    at, depth = chance.randint(0, len(body)), chance.choice([50, 900, 5000])
    return body[:at] + chance.choice([b"[", b'{"a":', b'{"content":[']) * depth + body[at:]


def _random(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    return chance.randbytes(chance.randint(0, 300))


def _literals(body: bytes, chance: random.Random, seeds: Sequence[Sample]) -> bytes:
    return body.replace(
        chance.choice([b"null", b"true", b"1", b'""']), chance.choice([b"NaN", b"1e999", b'"\\ud800"', b"-0"])
    )


FAULTS = (_cut, _bytes, _types, _types, _types, _mixed, _shuffled, _deep, _random, _literals)


# -- time


def measure() -> None:
    """Print the time of a request of 5 MB in each dialect, and of mitmproxy's JSON view of it."""
    for dialect in dialects.BY_NAME:
        body = request_of(dialect, SIZE, WORDS)
        view = _best(partial(json_view.prettify, body, Metadata()))
        own, turns = _best(partial(of_request, body, dialect)), len(of_request(body, dialect).turns)
        share = f"{own:.0f} ms, JSON view {view:.0f} ms: {own / view:.2f}"
        print(f"{dialect:18} {len(body) / 1e6:.1f} MB, {turns} turns: {share}")


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(7):
        at = time.process_time()
        work()
        times.append(time.process_time() - at)
    return min(times) * 1000


if __name__ == "__main__":
    sys.exit(main())
