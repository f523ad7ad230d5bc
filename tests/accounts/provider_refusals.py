"""Refusals as providers document them, and as things on the way make them: whether waiting cures each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Headers


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
        return self.status in (407, 424, 429) or self.status >= 500 or bool(page)

    @property
    def raw(self) -> bytes:
        """Its body."""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return b"" if self.body is None else text.encode()

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Its header fields."""
        kind = "text/html" if self.raw.startswith(b"<") else "text/plain" if isinstance(self.body, str) else JSON
        return (("content-type", kind), *self.headers.items())

    def answer(self) -> tuple[Head | Chunk | End, ...]:
        """Return it as an answer of an upstream."""
        head = Head(self.status, Headers(self.fields))
        return (head, Chunk(self.raw), End()) if self.raw else (head, End())


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
# Of gateways and smaller providers, and in shapes that no table knows.
kinds(
    "nothing", "openai",
    ("size in other words", 429, oai("You requested 9000 tokens but your limit for one request is 4000.")),
    ("images", 429, oai("Too many images in request", BAD, "too_many_images")),
    ("content, DashScope", 400, {"code": "DataInspectionFailed", "message": "Inappropriate content."}),
    ("Cohere", 422, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    ("Azure's gateway", 403, {"statusCode": 403, "message": "Out of call volume quota."}),
    ("Vertex perimeter", 403, {"error": {"code": 403, "message": "Request is prohibited by organization's policy.",
     "status": "PERMISSION_DENIED"}}),
    ("Bedrock model error", 424, {"message": "The system encountered an error", "__type": "ModelErrorException"}),
    ("Bedrock on demand", 400, {"message": "Invocation of model ID m with on-demand throughput isn't supported."}),
    ("XML", 403, "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
    ("plain 403", 403, "Forbidden"),
    ("plain 401", 401, "Unauthorized"),
    ("a JSON string", 403, '"no"'),
    ("an array", 403, [{"x": 1}]),
    ("an empty object", 403, {}),
    ("problem+json", 403, {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "scope missing"}),
    ("LiteLLM team", 403, oai("team not allowed to access model", "team_model_access_denied", "403", "model")),
    ("Portkey", 446, {"error": {"message": "hook failed", "type": "hooks_failed"}}),
    ("429 of a policy", 429, oai("This request was blocked by policy", "policy_blocked", "policy_blocked")),
    ("402 for a tool", 402, {"detail": "web search needs a paid plan"}),
    ("locked", 423, {"error": "locked"}),
)  # fmt: skip
kinds(
    "nothing", "anthropic",
    ("no beta for OAuth", 401, ant("authentication_error", "OAuth authentication is currently not supported.")),
    ("fast mode", 429, ant("rate_limit_error", "Fast mode requires extra usage billing")),
    ("usage tier", 429, ant("rate_limit_error", "Long context requests require usage tier 4")),
)  # fmt: skip
kinds(
    "nothing", "gemini",
    ("cache", 403, gem(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")),
    ("tool of a tier", 429, gem(429, "RESOURCE_EXHAUSTED", "Grounding is not available in the free tier")),
    ("location of the model", 400, gem(400, "FAILED_PRECONDITION", "This model is not available in your location")),
)  # fmt: skip
# What another service said, which the client chose: of its key and its money, not of ours.
kinds(
    "nothing", "openai",
    ("words of a host", 400, oai("Timeout while downloading https://x.test/y.png: invalid api key", BAD,
     "invalid_image_url")),
    ("words of a host, no code", 400, oai("Failed to download image from https://x.test: incorrect api key", BAD)),
    ("words of a host, in a failed stream", 400, oai("Failed to fetch https://x.test: credit balance is too low")),
    ("words of an MCP server", 424, oai("Error retrieving tool list from MCP server x: 401 invalid api key",
     "external_connector_error", "http_error")),
    ("words of a tool", 400, oai("tool web_search failed: insufficient credits", BAD, "tool_error")),
    ("a code of next month", 400, oai("model m does not exist for incorrect api key", BAD, "unsupported_image_host")),
)  # fmt: skip
kinds(
    "nothing", "anthropic",
    ("words of a host", 400, ant(BAD, "messages.0.content.0.image.source: 401 invalid x-api-key")),
    ("words of an MCP server", 400, ant(BAD, "Connection error while communicating with MCP server x: 401 invalid "
     "x-api-key")),
    ("a server's token", 400, ant(BAD, "mcp_servers.0: OAuth token has expired")),
    ("usage credits", 429, ant("rate_limit_error", "Usage credits are required for 1M context"),
     {"retry-after": "3600"}),
    ("another program's plan", 429, ant("rate_limit_error", "Third-party apps now draw from your extra usage"),
     {"retry-after": "3600"}),
)  # fmt: skip
kinds(
    "nothing", "gemini",
    ("words of a host", 400, gem(400, "INVALID_ARGUMENT", "Cannot fetch content from the provided URL: API key not "
     "valid")),
)  # fmt: skip
# An upstream that this one request overloads, or that says so of what it cannot do.
kinds(
    "nothing", "openai",
    ("an own 503", 503, oai("The server is overloaded", "server_error")),
    ("an own page of 503", 503, "<html>Service Unavailable</html>"),
    ("an own capacity", 429, oai("Service tier capacity exceeded", "capacity_exceeded")),
)  # fmt: skip
kinds("nothing", "anthropic", ("an own 529", 529, ant("overloaded_error", "Overloaded")))
kinds("nothing", "gemini", ("an own 503", 503, gem(503, "UNAVAILABLE", "The model is overloaded.")))
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
    ("load under 400", 400, oai("We are experiencing high load", BAD)),
    ("busy under 400", 400, {"message": "The engine is busy, try again later"}),
    ("GPUs in use", 400, oai("All GPUs are in use, please retry", BAD)),
    ("warming up", 409, oai("engine is warming up")),
    ("at once, under 400", 400, oai("The server had too many concurrent requests", BAD)),
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
kinds(
    "nothing", "openai",
    ("file of another", 403, oai("You do not have access to file file-abc", BAD)),
    ("tool", 403, oai("You do not have permission to use the web_search tool.", "permission_error")),
    ("scopes", 403, oai("You have insufficient permissions. Missing scopes: model.request", BAD, "missing_scope")),
    ("connector", 424, oai("Error retrieving tool list from MCP server: x.", "external_connector_error", "http_error")),
    ("prompt", 500, oai("The model produced invalid content. Consider modifying your prompt.", "model_error")),
    ("slow request", 408, oai("Request timed out", BAD)),
    ("data policy", 404, oai("No endpoints found matching your data policy.", None, 404)),
)  # fmt: skip
kinds(
    "nothing", "anthropic",
    ("file of another", 403, ant("permission_error", "File file_abc is not accessible to this workspace")),
)  # fmt: skip
kinds(
    "nothing", "gemini",
    ("file that expired", 403, gem(403, "PERMISSION_DENIED",
     "You do not have permission to access the File abc or it may not exist.")),
    ("cache that is gone", 403, gem(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")),
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
    ("own limit", 400, ant(BAD, "You have reached your specified API usage limits. You will regain access on "
     "1970-01-02 at 00:00 UTC.")),
    ("balance", 400, ant(BAD, "Your credit balance is too low to access the Anthropic API.")),
    ("disabled", 400, ant(BAD, "This organization has been disabled.")),
)  # fmt: skip
kinds(
    "somebody", "gemini",
    ("key", 400, gem(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})),
    ("billing", 403, gem(403, "PERMISSION_DENIED", "x", {"reason": "BILLING_DISABLED"})),
)  # fmt: skip

ABOUT_THE_REQUEST = [kind for kind in KINDS if kind.cure == "nothing"]
