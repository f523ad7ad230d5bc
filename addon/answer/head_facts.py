"""Facts of an answer's head: ids of the answer, and when and where it was made."""

from __future__ import annotations

from collections.abc import Iterator

from ..values.account import Echo
from ..values.answer import Fact, Head

# Headers in which providers and gateways put an id of their own. Not here: `cf-ray` and trace ids, which name a
# connection or a whole trace; `x-client-request-id`, which clients reuse; `x-patchbay-*` of an instance upstream.
_PROVIDER_IDS = (
    "request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "x-amzn-request-id", "x-ms-request-id",
    "x-generation-id", "x-inference-id", "x-litellm-call-id", "x-ds-trace-id", "x-oai-request-id", "x-goog-request-id",
    "mistral-correlation-id",
)  # fmt: skip
_MILLISECONDS = ("openai-processing-ms", "x-envoy-upstream-service-time")  # that the server says it took
_CACHES = ("x-cache", "cf-cache-status", "cf-aig-cache-status", "x-portkey-cache-status", "helicone-cache",
          "x-cache-hit", "x-openrouter-cache-status", "x-litellm-cache-hit")  # fmt: skip
_HITS = frozenset({"hit", "true", "1", "revalidated", "stale"})


def head_facts(head: Head, echo: Echo) -> Iterator[Fact]:
    """Yield `echo` and `provider_id`, then `kept` (from a cache), `date`, `took` (seconds), `age` and `early`."""
    present = head.headers.names()  # asked first: a head has few of the names below
    echoes = {name.lower(): depth for name, depth in echo.headers.items()}
    for name, depth in echoes.items():
        if value := head.headers.get(name):
            yield Fact("echo", value, f"header {name}", depth)
    for name in _PROVIDER_IDS:
        if name in present and name not in echoes and (value := head.headers.get(name)):
            yield Fact("provider_id", value, f"header {name}")
    for name in _CACHES:
        if name in present and head.headers.get(name).partition(" ")[0].partition(",")[0].strip().lower() in _HITS:
            yield Fact("kept", "hit", f"header {name}")
    if date := head.headers.get("date"):
        yield Fact("date", date, "header date")
    for name in _MILLISECONDS:
        if name in present and (took := _count(head.headers.get(name))) is not None:
            yield Fact("took", took / 1000, f"header {name}")
    if "age" in present and (age := _count(head.headers.get("age"))) is not None:
        yield Fact("age", age, "header age")
    if head.early:
        yield Fact("early", "the head", "head")


def _count(value: str) -> int | None:
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
