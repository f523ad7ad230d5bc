"""
Before a lane rests: can waiting cure this? Every kind of refusal that providers document, against a whole router.

One conversation meets each of them while another one runs on the same accounts. Where no waiting cures it, the other
one never notices. Where all accounts show it for a moment, all of them are back soon after.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random
from typing import Any

import pytest

from patchbay import dialects
from patchbay.accounts.health import LAST_CHANCE
from patchbay.body import Body
from patchbay.config import Account, Config, Failover, Secret
from patchbay.providers import PRESETS
from patchbay.router import Exchange, Router
from patchbay.values import Chunk, Client, End, Failure, Head, Headers, Origin, Refusal, Request, Route, Wait

UPSTREAM = Origin("http", "127.0.0.1", 9)
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
GOOD: dict[str, Any] = {
    "openai": {"id": "c", "object": "chat.completion", "model": "m",
               "choices": [{"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}]},
    "anthropic": {"id": "msg", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                  "content": [{"type": "text", "text": "well"}]},
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "well"}]}, "finishReason": "STOP"}]},
}  # fmt: skip
BACK = 35.0  # seconds after which a pool is well again when what it showed has passed


@dataclass(frozen=True)
class Kind:
    """One refusal. *cure*: nothing (it is about the request), time, or somebody who mends the account."""

    name: str
    cure: str
    family: str
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether it looks like a passing fault, and so like an outage when several conversations meet it."""
        page = isinstance(self.body, str) or self.headers
        return self.status in (407, 429) or self.status >= 500 or bool(page)

    def answer(self) -> tuple[Head | Chunk | End | Failure, ...]:
        raw = self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()
        raw = b"" if self.body is None else raw
        kind = "text/html" if raw.startswith(b"<") else "text/plain" if isinstance(self.body, str) else JSON
        head = Head(self.status, Headers((("content-type", kind), *self.headers.items())))
        return (head, Chunk(raw), End()) if raw else (head, End())


JSON = "application/json"
KINDS: list[Kind] = []


def kinds(cure: str, family: str, *rows: tuple[Any, ...]) -> None:
    KINDS.extend(Kind(f"{cure}: {family} {row[0]}", cure, family, *row[1:]) for row in rows)


def oai(message: str = "", kind: str | None = None, code: Any = None, param: str | None = None, **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def ant(kind: str, message: str, **more: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


def gem(code: int, status: str, message: str, *details: Any) -> Any:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


BAD = "invalid_request_error"
VIA = {"via": "1.1 squid-3 (squid/5.7)", "server": "squid/5.7"}
kinds(
    "nothing", "openai",
    ("too long", 400, oai("This model's maximum context length is 8192 tokens", BAD, "context_length_exceeded")),
    ("too long, no code", 400, oai("This model's maximum context length is 128000 tokens", BAD, None, "messages")),
    ("too large for the limit", 429, oai("Request too large for m in organization org-1 on tokens per min (TPM): Limit "
     "30000, Requested 31226. The input or output tokens must be reduced in order to run successfully.", "tokens",
     "rate_limit_exceeded")),
    ("too large, Groq", 413, oai("Request too large for model `m` in organization `org` service tier `on_demand` on "
     "tokens per minute (TPM): Limit 6000, Requested 20000, please reduce your message size and try again.", "tokens",
     "rate_limit_exceeded")),
    ("schema", 400, oai("Invalid schema for response_format 'x'", BAD, None, "response_format")),
    ("unknown parameter", 400, oai("Unknown parameter: 'foo'.", BAD, "unknown_parameter", "foo")),
    ("unsupported value", 400, oai("Unsupported value: 'temperature'", BAD, "unsupported_value", "temperature")),
    ("feature", 400, oai("Your organization must be verified to stream this model.", BAD, "unsupported_value",
     "stream")),
    ("verification", 403, oai("Your organization must be verified to generate reasoning summaries.", BAD, None)),
    ("policy", 400, oai("Your request was rejected by our safety system.", BAD, "content_policy_violation")),
    ("policy, 403", 403, oai("Invalid prompt: flagged as potentially violating our usage policy.", BAD,
     "invalid_prompt")),
    ("policy, 451", 451, oai("Unavailable for legal reasons", None, None)),
    ("moderation, OpenRouter", 403, oai("x", None, 403, metadata={"reasons": ["x"], "flagged_input": "y"})),
    ("filter, Azure", 400, oai("The response was filtered", None, "content_filter", "prompt", status=400)),
    ("image", 400, oai("You uploaded an unsupported image", BAD, "invalid_image_format")),
    ("image too large", 413, oai("image too large", BAD, "image_too_large")),
    ("blob", 400, oai("The encrypted content could not be verified.", BAD, "invalid_encrypted_content")),
    ("stored response", 400, oai("Previous response with id 'resp_1' not found.", BAD, "previous_response_not_found")),
    ("endpoint", 404, oai("This model is only supported in v1/responses and not in v1/chat/completions.", BAD,
     "model_not_found", "model")),
    ("endpoint, chat", 404, oai("This is not a chat model and thus not supported in the v1/chat/completions endpoint.",
     BAD, None, "model")),
    ("tool with model", 400, oai("The requested model 'm' cannot be used with this tool", BAD, "unsupported_model",
     "model")),
    ("region of the model", 403, oai("The model `m` is not available in your region", BAD, None)),
    ("no endpoint with images", 404, oai("No endpoints found that support image input", None, 404)),
    ("affordable", 402, oai("This request requires more credits, or fewer max_tokens. You requested up to 64000 "
     "tokens, but can only afford 5000", None, 402)),
    ("bare 401", 401, {"error": "Unauthorized"}),
    ("bare 402", 402, oai("no")),
    ("bare 403", 403, oai("no")),
    ("empty 401", 401),
    ("empty 402", 402),
    ("empty 403", 403),
    ("gateway 403", 403, {"message": "Forbidden"}),
    ("generic 403", 403, oai("You are not allowed to do this", "permission_error", "permission_denied")),
    ("conflict", 409, oai("conflict")),
    ("unprocessable", 422, {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]}),
    ("schema, Mistral", 422, {"object": "error", "message": {"detail": []}, "type": BAD}),
    ("not found, DeepSeek", 404, oai("Not Found")),
    ("xAI argument", 400, {"code": "Client specified an invalid argument", "error": "prompt length is too long"}),
    ("Bedrock too long", 400, {"message": "Input is too long for requested model.", "__type": "ValidationException"}),
    ("schema under 500", 500, oai("Invalid tool schema", BAD)),
    ("an own 500", 500, oai("The server had an error", "server_error")),
    ("a code under 429", 429, oai("no", BAD, "context_length_exceeded")),
    ("a code under 403", 403, oai("no", BAD, "unsupported_parameter", "tools")),
    ("429 of unknown words", 429, oai("flux of type 7 is not for you")),
    ("429 about a plan", 429, oai("Structured output is not available on your plan. Upgrade your plan.")),
    ("media type", 415, oai("Unsupported media type")),
    ("expectation", 417),
    ("head too large", 431, "<html>Request Header Or Cookie Too Large</html>"),
    ("page too large", 413, "<html><h1>413 Request Entity Too Large</h1></html>"),
    ("page, 404", 404, "<html><h1>404 Not Found</h1></html>"),
)  # fmt: skip
kinds(
    "nothing", "anthropic",
    ("extra usage", 429, ant("rate_limit_error", "Extra usage is required for long context requests.")),
    ("extra usage, 400", 400, ant(BAD, "Extra usage is required for long context requests.")),
    ("long context", 400, ant(BAD, "The long context beta is not yet available for this subscription.")),
    ("long context, 403", 403, ant("permission_error", "Long context is not available for your organization")),
    ("beta", 400, ant(BAD, "Unexpected value(s) `x-2026` for the `anthropic-beta` header.")),
    ("beta, 403", 403, ant("permission_error", "This beta is not enabled for your workspace")),
    ("Claude Code's key", 400, ant(BAD, "This credential is only authorized for use with Claude Code and cannot be "
     "used for other API requests.")),
    ("too long", 400, ant(BAD, "prompt is too long: 212000 tokens > 200000 maximum")),
    ("too large", 413, ant("request_too_large", "Request exceeds the maximum size")),
    ("signature", 400, ant(BAD, "messages.1.content.0: Invalid `signature` in `thinking` block")),
    ("thinking", 400, ant(BAD, "`temperature` may only be set to 1 when thinking is enabled")),
    ("tool", 400, ant(BAD, "tools.0.custom.input_schema: JSON schema is invalid")),
    ("image", 400, ant(BAD, "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum")),
    ("policy", 400, ant(BAD, "Output blocked by content filtering policy")),
    ("not found", 404, ant("not_found_error", "File file_1 not found")),
    ("denied", 403, ant("permission_error", "Your API key does not have permission to use the specified resource")),
    ("forbidden", 403, ant("forbidden", "Request not allowed")),
)  # fmt: skip
kinds(
    "nothing", "gemini",
    ("too long", 400, gem(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of "
     "tokens allowed (1048576).")),
    ("precondition", 400, gem(400, "FAILED_PRECONDITION", "Please use a different file")),
    ("field", 400, gem(400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name \"foo\"",
     {"@type": "BadRequest", "fieldViolations": [{"field": "contents", "description": "x"}]})),
    ("denied", 403, gem(403, "PERMISSION_DENIED", "You do not have permission to access the File x")),
    ("not found", 404, gem(404, "NOT_FOUND", "Requested entity was not found.")),
    ("out of range", 400, gem(400, "OUT_OF_RANGE", "max_output_tokens must be positive")),
)  # fmt: skip
# A fault of the way, however it comes about: the account is none the worse.
kinds(
    "nothing", "openai",
    ("challenge", 403, "<!DOCTYPE html><title>Just a moment...</title>", {"cf-mitigated": "challenge"}),
    ("challenge, empty", 403, None, {"cf-mitigated": "challenge", "server": "cloudflare"}),
    ("captive portal", 401, "<html>Sign in to the guest network</html>"),
    ("proxy's page", 403, "<html>Access to this site is blocked</html>", VIA),
    ("proxy's refusal", 403, None, VIA),
    ("proxy wants a login", 407, None, {"proxy-authenticate": "Basic"}),
    ("Cloudflare in words", 403, "error code: 1020"),
    ("tunnel is gone", 404, "<html>ngrok</html>", {"ngrok-error-code": "ERR_NGROK_3200"}),
    ("a portal's payment", 402, "<html>Your day pass has expired</html>"),
    ("origin is down", 522, "<html>Connection timed out</html>"),
)  # fmt: skip
# What passes by itself: the account may rest for a moment, and another one serves.
kinds(
    "time", "openai",
    ("rate", 429, oai("Rate limit reached for m on requests per min. Please try again in 20s.", "requests",
     "rate_limit_exceeded"), {"retry-after": "20"}),
    ("long rate", 429, oai("Rate limit reached", "requests", "rate_limit_exceeded"), {"retry-after": "561"}),
    ("Codex window", 429, oai("x"), {"x-codex-primary-reset-after-seconds": "7000"}),
    ("usage limit", 429, oai("The usage limit has been reached", "usage_limit_reached", None, resets_in_seconds=9000)),
    ("capacity under 400", 400, oai("Selected model is at capacity. Please try a different model.", BAD, None)),
    ("capacity with a place", 400, oai("The model is at capacity", BAD, "model_at_capacity", "model")),
    ("overloaded", 503, oai("The engine is currently overloaded", "server_error", None)),
    ("Groq capacity", 498, oai("Over capacity", "capacity_exceeded")),
    ("unavailable", 503, "<html>Service Unavailable</html>", {"retry-after": "120"}),
    ("bad gateway", 502, "<html>Bad gateway</html>"),
    ("gateway timeout", 504, None),
    ("Cloudflare rate", 429, "<html>error 1015</html>"),
    ("slow down", 503, oai("Slow down", None, "slow_down")),
    ("Azure demand", 429, oai("System is experiencing high demand", None, "429")),
    ("Bedrock throttling", 429, {"message": "Too many tokens, please wait before trying again."}),
)  # fmt: skip
kinds(
    "time", "anthropic",
    ("rate", 429, ant("rate_limit_error", "This request would exceed the rate limit for your organization of 30,000 "
     "input tokens per minute."), {"retry-after": "41"}),
    ("input rate", 429, ant("rate_limit_error", "Number of input tokens has exceeded your per-minute rate limit"),
     {"retry-after": "17"}),
    ("window", 429, ant("rate_limit_error", "This request would exceed your account's rate limit."),
     {"anthropic-ratelimit-unified-5h-status": "rejected", "anthropic-ratelimit-unified-5h-reset": "1790005000"}),
    ("overloaded", 529, ant("overloaded_error", "Overloaded")),
    ("api error", 500, ant("api_error", "Internal server error")),
)  # fmt: skip
kinds(
    "time", "gemini",
    ("rate", 429, gem(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota",
     {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"})),
    ("rate without a time", 429, gem(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")),
    ("day", 429, gem(429, "RESOURCE_EXHAUSTED", "x", {"violations": [{"quotaId": "RequestsPerDayPerModel"}]})),
    ("overloaded", 503, gem(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    ("internal", 500, gem(500, "INTERNAL", "An internal error has occurred.")),
)  # fmt: skip
# What somebody has to mend, with the provider's evidence for it.
kinds(
    "somebody", "openai",
    ("key", 401, oai("Incorrect API key provided: sk-x", BAD, "invalid_api_key")),
    ("key, Moonshot", 401, oai("Invalid Authentication", "invalid_authentication_error")),
    ("token", 401, None, {"www-authenticate": 'Bearer error="invalid_token"'}),
    ("token revoked", 401, oai("revoked", None, "token_revoked")),
    ("deactivated", 401, oai("The account is deactivated", BAD, "account_deactivated")),
    ("quota", 429, oai("You exceeded your current quota", "insufficient_quota", "insufficient_quota")),
    ("balance, DeepSeek", 402, oai("Insufficient Balance", "unknown_error", BAD)),
    ("credits, xAI", 403, {"code": "x", "error": "Your team has used all available credits"}),
    ("credits, OpenRouter", 402, oai("x", None, 402, metadata={"limit_source": "openrouter_credits"})),
    ("model", 404, oai("The model `m` does not exist", BAD, "model_not_found")),
    ("country", 403, oai("Country, region, or territory not supported", "request_forbidden",
     "unsupported_country_region_territory")),
)  # fmt: skip
kinds(
    "somebody", "anthropic",
    ("key", 401, ant("authentication_error", "invalid x-api-key")),
    ("revoked", 403, ant("permission_error", "OAuth token has been revoked")),
    ("balance", 400, ant(BAD, "Your credit balance is too low to access the Anthropic API.")),
    ("disabled", 400, ant(BAD, "This organization has been disabled.")),
)  # fmt: skip
kinds(
    "somebody", "gemini",
    ("key", 400, gem(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})),
    ("billing", 403, gem(403, "PERMISSION_DENIED", "x", {"reason": "BILLING_DISABLED"})),
)  # fmt: skip

ABOUT_THE_REQUEST = [kind for kind in KINDS if kind.cure == "nothing"]
Says = Callable[[str, str, float], Kind | None]  # conversation, account and time → what is refused, if anything is


@dataclass(frozen=True)
class Turn:
    """How a turn ended: the accounts that were asked, whether the last of them served it, and when."""

    asked: tuple[str, ...]
    served: bool
    refusal: Refusal | None
    now: float

    @property
    def by(self) -> str:
        return self.asked[-1] if self.served else ""


class Pool:
    """A router in front of *size* accounts that answer as `says` says; `between` is called before each attempt."""

    def __init__(self, family: str, size: int, says: Says = lambda *_: None, attempts: int = 100) -> None:
        numbers = count(1)
        preset = {"gemini": "gemini", "anthropic": "anthropic", "openai": "generic"}[family]
        accounts = tuple(
            Account(f"account{n}", PRESETS[preset], Secret("literal", f"key-{n}"), origin=UPSTREAM, insecure_http=True)
            for n in range(size)
        )
        config = Config(accounts, failover=Failover(attempts=attempts))
        self.family, self.says = family, says
        self.between: Callable[[float], None] = lambda now: None
        self.router = Router(config, bytes(32), Random(1), lambda size: next(numbers).to_bytes(size))

    def request(self, conversation: str) -> Request:
        path = PATHS[self.family]
        body: dict[str, Any] = {"messages": [{"role": "user", "content": f"this is {conversation}"}], "model": "m"}
        if self.family == "gemini":
            body = {"contents": [{"role": "user", "parts": [{"text": f"this is {conversation}"}]}]}
        headers = Headers((("x-session-id", f"conversation-{conversation}"),))
        endpoint = dialects.endpoint("POST", path)
        return Request("POST", path, headers, Body(json.dumps(body).encode()), endpoint, UPSTREAM, Client())

    def turn(self, conversation: str, now: float) -> Turn:
        router, asked = self.router, list[str]()
        exchange = router.open(self.request(conversation), now, reverse=UPSTREAM)
        assert isinstance(exchange, Exchange)
        served, refusal, began = False, None, now
        while True:
            match router.next(exchange, now):
                case Wait() as wait:
                    now = max(now + 0.01, wait.until)
                    assert now < began + 60, "it waits for ever"
                    continue
                case Refusal() as refusal:
                    break
                case Route() as route:
                    asked.append(route.account.id)
            kind = self.says(conversation, route.account.id, now)
            good = (Head(200, Headers((("content-type", JSON),))), Chunk(json.dumps(GOOD[self.family]).encode()), End())
            reactions = [router.answered(exchange, each, now) for each in (kind.answer() if kind else good)]
            served = kind is None
            if conversation != "other":
                self.between(now)
            if reactions[-1] != "next":
                break
        router.close(exchange, "", now, status=200 if served else 400)
        return Turn(tuple(asked), served, refusal, now)


def names(kind: Kind) -> str:
    return kind.name


def test_can_waiting_cure_it_is_asked_of_at_least_forty_kinds_of_refusal() -> None:
    """A1: and of each cure there are some."""
    assert len({(kind.status, json.dumps(kind.body), str(kind.headers)) for kind in KINDS}) >= 100
    assert len(ABOUT_THE_REQUEST) >= 60
    assert {kind.cure for kind in KINDS} == {"nothing", "time", "somebody"}


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", ABOUT_THE_REQUEST, ids=names)
def test_can_waiting_cure_it_no_then_the_other_conversation_never_notices(kind: Kind, size: int) -> None:
    """A1, A2: not between the attempts of the one that is refused, not when it comes back again and again."""
    pool = Pool(kind.family, size, lambda who, *_: kind if who == "refused" else None)
    home = pool.turn("other", 0.0).by
    seen = list[Turn]()
    pool.between = lambda now: seen.append(pool.turn("other", now))

    for number in range(6):
        pool.turn("refused", 10.0 + 20 * number)

    assert len(seen) >= 6
    assert {turn.asked for turn in seen} == {(home,)}
    assert all(turn.served for turn in seen)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", ABOUT_THE_REQUEST, ids=names)
def test_can_waiting_cure_it_no_then_one_that_comes_later_is_served_at_once(kind: Kind, size: int) -> None:
    """A1, A2: also a conversation that nobody has heard of, and where nobody was served before."""
    pool = Pool(kind.family, size, lambda who, *_: kind if who == "refused" else None)
    pool.turn("refused", 0.0)
    later = pool.turn("other", 0.5)
    assert (later.served, len(later.asked), later.now) == (True, 1, 0.5)


@pytest.mark.parametrize("kind", ABOUT_THE_REQUEST, ids=names)
def test_can_waiting_cure_it_no_then_three_conversations_do_not_shut_out_a_fourth(kind: Kind) -> None:
    """A1: nor do three at once, whatever a single one of them was served before."""
    pool = Pool(kind.family, 4, lambda who, _, now: kind if who.startswith("refused") and now > 1 else None)
    home = pool.turn("other", 0.0).by
    for number in range(5):
        pool.turn(f"refused {number}", 0.0)
    for number in range(5):
        for _ in range(2):
            pool.turn(f"refused {number}", 10.0 + number)
    after = pool.turn("other", 20.0)
    assert (after.served, len(after.asked), after.now) == (True, 1, 20.0)
    assert after.by == home or kind.passes, "what ten requests met just now may be an outage"


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_can_waiting_cure_it_yes_then_the_pool_is_back_in_35_seconds(kind: Kind, size: int) -> None:
    """R8: all accounts show it to everybody for five seconds, whatever it is, and are well then."""
    pool = Pool(kind.family, size, lambda _, __, now: kind if now < 5.0 else None)
    for number in range(20):
        pool.turn(f"conversation {number % 7}", number / 4)
    back = next((now for now in range(5, 60) if pool.turn(f"conversation {now % 7}", float(now)).served), None)
    assert back is not None
    assert back <= 5 + BACK

    everybody = [pool.turn(f"conversation {number}", back + 1.0 + number) for number in range(7)]
    assert all(turn.served for turn in everybody)
    later = [pool.turn(f"new {number}", back + 12.0 + number) for number in range(4 * size)]
    assert len({turn.by for turn in (*everybody, *later)}) == size, "what began to rest together is looked at together"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.cure != "nothing"], ids=names)
def test_can_waiting_cure_it_or_not_what_is_wrong_with_one_account_is_served_by_another(kind: Kind) -> None:
    """A8, A9: nobody is refused while three accounts are well, and the bad one is asked seldom."""
    pool = Pool(kind.family, 4, lambda _, account, __: kind if account == "account0" else None)
    turns = [pool.turn(f"conversation {number % 10}", number / 2) for number in range(60)]
    assert all(turn.served for turn in turns)
    assert sum(turn.asked.count("account0") for turn in turns) <= 20


def test_a_dead_pool_is_probed_ever_more_seldom() -> None:
    """R8: one request in half a minute finds out, and what it finds out again and again it is asked less often."""
    bad = next(kind for kind in KINDS if kind.name == "somebody: openai key")
    pool = Pool("openai", 1, lambda *_: bad)
    asked = [second for second in range(0, 3600, 3) if pool.turn(f"conversation {second % 9}", float(second)).asked]
    probes = [second for second in asked if second > LAST_CHANCE]
    assert 5 <= len(probes) <= 15
    gaps = [after - before for before, after in pairwise(probes)]
    assert min(gaps) >= LAST_CHANCE
    assert gaps[-1] > gaps[0]
