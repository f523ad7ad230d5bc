"""
Holds the content view to what it promises: it never raises, prints nothing unsafe, and is faster than mitmproxy's JSON.

Recorded bodies are damaged in many ways and shown as request and as answer; then a long request is timed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from statistics import median

from mitmproxy import contentviews, http
from mitmproxy.io import FlowReader
from mitmproxy.test import taddons, tflow

from patchbay.proxy import content_view
from patchbay.transcript.pane import columns, safe

from . import content_view_pages, content_view_time

RECORDED = Path(__file__).parent.parent / "tests" / "data" / "day-2026-11.mitm.gz"
PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1beta/models/m:generateContent", "/v1/completions")
PIECES = (
    b"null", b"true", b"-0", b"1e999", b"[]", b"{}", b'""', b'"\\ud800"', b"\xff\xfe", b"\x1b[2J", b"\xe2\x80\xae",
    b"\n\n", b"\x00",
    b"data: ", b"event: x\n", b"[" * 3000, b'{"a":' * 3000, b'"type":"text",', b'"content":', b'"role":"user",',
    b"data: [DONE]\n\n", b'"input":{"a":', b'"delta":', b'"usage":{"input_tokens":', b'"parts":[{"text":',
)  # fmt: skip


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("flows", nargs="*", type=Path, help="files that mitmdump has written: only check their pages")
    asked.add_argument("--bodies", type=int, default=100_000)
    asked.add_argument("--seed", type=int, default=7)
    asked.add_argument("--time", action="store_true", help="only measure, requests of many shapes")
    given = asked.parse_args()
    with taddons.context() as around:
        around.options.add_option("web_port", int, 8081, "mitmweb's own")
        content_view.install()
        if given.flows:
            return 1 if [file for file in given.flows if not content_view_pages.all_shown(file)] else 0
        if given.time:
            return 0 if content_view_time.measured() else 1
        failed = fuzz(given.bodies, Random(given.seed))
        share = time_share()
    print(f"a request of 5 MB takes {share:.2f} of the time of mitmproxy's JSON view (wanted: below 0.5)")
    return 1 if failed or share >= 0.5 else 0


def fuzz(bodies: int, random: Random) -> int:
    """Show so many damaged *bodies* and return how many were shown wrongly."""
    recorded, failed, slowest, began = list(_recorded()), 0, 0.0, time.monotonic()
    for number in range(bodies):
        body, at = damaged(random.choice(recorded), random), time.perf_counter()
        wrong = wrong_in(body, random.choice(PATHS), is_answer=random.random() < 0.5)
        slowest = max(slowest, time.perf_counter() - at)
        if wrong:
            failed += 1
            print(f"body {number}: {wrong}: {body[:200]!r}", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{bodies} damaged bodies: {failed} shown wrongly; {seconds:.0f} s, the slowest {1000 * slowest:.0f} ms")
    return failed


def damaged(body: bytes, random: Random) -> bytes:
    """Return *body* with one to four places cut out, doubled, overwritten or filled with something else."""
    for _ in range(random.randint(1, 4)):
        begin = random.randrange(len(body) + 1)
        end = min(len(body), begin + random.choice((0, 1, 2, 20, 200, len(body))))
        piece = random.choice((b"", body[begin:end] * 2, random.choice(PIECES), random.randbytes(3)))
        body = body[:begin] + piece + body[end:]
    return body


def wrong_in(body: bytes, path: str, *, is_answer: bool) -> str:
    """Return what is wrong with the page of *body*; empty: nothing."""
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.request.method, flow.request.path, flow.request.content = "POST", path, b"" if is_answer else body
    flow.response.content = body if is_answer else b""
    flow.metadata["patchbay.account"] = "one"
    message: http.Message = flow.response if is_answer else flow.request
    data = message.raw_content or b""
    for view in content_view.VIEWS:
        try:
            page = view._page(data, contentviews.Metadata(flow, http_message=message))
        except Exception as e:
            return f"{view.name} raised {type(e).__name__}"
        for line in page.split("\n"):
            if safe(line) != line:
                return f"{view.name} shows a control character"
            if columns(line) > content_view.WEB_COLUMNS:
                return f"{view.name} shows a line of {columns(line)} columns"
    return ""


def time_share(size: int = 5_000_000, rounds: int = 9) -> float:
    """Return the time that the page of a long conversation takes, as a share of that of mitmproxy's JSON view."""
    flow = tflow.tflow()
    flow.request.method, flow.request.path, flow.request.content = "POST", "/v1/messages", long_request(size)
    taken: dict[str, list[float]] = {"conversation": [], "json": []}
    for _ in range(rounds):
        for view, seconds in taken.items():
            at = time.perf_counter()
            contentviews.prettify_message(flow.request, flow, view)
            seconds.append(time.perf_counter() - at)
    return median(taken["conversation"]) / median(taken["json"])


def long_request(size: int) -> bytes:
    """Return a request of *size* bytes or more, whose turns read files and speak of them."""
    turns = []
    for number in range(size // 25_000 + 1):
        read = {"type": "tool_use", "id": f"call-{number}", "name": "Read", "input": {"file_path": f"src/{number}.py"}}
        got = {"type": "tool_result", "tool_use_id": f"call-{number}", "content": "a line of code, with words\n" * 460}
        turns.append({"role": "assistant", "content": [{"type": "text", "text": "Some prose. " * 1050}, read]})
        turns.append({"role": "user", "content": [got]})
    asked = {"role": "user", "content": "Read all of it."}
    return json.dumps({"model": "m", "max_tokens": 64, "messages": [asked, *turns]}).encode()


def _recorded() -> Iterator[bytes]:
    recorded = BytesIO(gzip.decompress(RECORDED.read_bytes()))
    for flow in FlowReader(recorded).stream():
        if isinstance(flow, http.HTTPFlow):
            yield from filter(None, (message.raw_content for message in (flow.request, flow.response) if message))


if __name__ == "__main__":
    sys.exit(main())
