"""
Presets: what a provider speaks, how it takes a credential, what is stamped on a request and what comes back.

A row here, or the same keys in YAML, is all a new provider needs. `promised` is the contract: where it is true, a value
that comes back other than the one that went up belongs to another request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from .values import Depth, OutcomeKind

CredentialForm = Literal["auto", "bearer", "x-api-key", "x-goog-api-key", "api-key", "query"]
Layout = Literal["plain", "azure"]
FAMILIES = ("openai", "anthropic", "gemini")
Serialize = Literal["none", "thread", "account", "model_switch"]
# What can be said about an answer that is not ours; the detectors themselves are in `crosstalk`.
DETECTORS = (
    "contract", "tag", "duplicate", "tool-call", "strange-id", "stripped", "settings", "shape", "framing", "stray-head",
    "disorder", "created", "took", "age", "early", "model", "tool-name", "same-text", "results",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    What we put on a request besides our own `X-Patchbay-Request-Id`.

    Values are templates over {request_id}, {request_guid} (the same id in the form of a GUID), {session_id},
    {model_id}, {thread_id}; one whose field is empty is left out. A header the client sent itself is left alone.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    body_at: frozenset[str] = frozenset()  # endpoints (`/chat/completions`) whose bodies take *body*; empty: all
    namespace: bool = True  # False: not even our own headers (`pristine`)

    def names(self, field: str) -> bool:
        """Whether a template has *field* in it."""
        return any(f"{{{field}}}" in template for template in (*self.headers.values(), *self.body.values()))


@dataclass(frozen=True, slots=True)
class Echo:
    """Where a request id may come back, and how deep the hand is that writes it there."""

    headers: Mapping[str, Depth] = field(default_factory=dict)
    body: Mapping[str, Depth] = field(default_factory=dict)
    promised: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """
    How long one attempt may take, in seconds; 0 is no bound.

    *connect* until the connection stands (TLS included), *first_byte* from then until the head of the answer, *idle*
    between two pieces of it, *total* for all of it. A model may think for long before a whole answer, for which
    *whole_first_byte* and *whole_idle* hold; they are no bound unless the settings name the other two.
    """

    connect: float = 10.0
    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 0.0
    whole_first_byte: float = 0.0
    whole_idle: float = 0.0

    @property
    def of_whole(self) -> Timeouts:
        """Return what holds for a whole answer of a model."""
        return replace(self, first_byte=self.whole_first_byte, idle=self.whole_idle)


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """
    What an error of one of *status* (none: any) that *contains* a text, in any case, means; it goes before our tables.

    *outcome* is None where the tables are to say it; *cooldown* is in seconds, None where it follows from the outcome.
    """

    status: frozenset[int] = frozenset()
    contains: str = ""
    outcome: OutcomeKind | None = None
    cooldown: float | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """
    One service at one base URL. *base_url* is a URL, `reverse` (the upstream of `--mode reverse:`) or empty.

    *layout* says how paths read under it; *api_version* is what Azure wants to be told in the query. A path
    that is no endpoint of its dialects, nor one of *paths* or below one, gets no key: it may administer the account.
    """

    name: str
    preset: str
    families: frozenset[str]
    base_url: str = ""
    credential: CredentialForm = "auto"
    stamp: Stamp = Stamp()
    echo: Echo = Echo()
    timeouts: Timeouts = Timeouts()
    model_ids: Mapping[str, str] = field(default_factory=dict)
    slots: int = 0  # session ids upstream per client and model, each for one request at a time; 0: one a conversation
    serialize: Serialize = "none"
    error_rules: tuple[ErrorRule, ...] = ()
    silent: tuple[str, ...] = ()  # detectors of crosstalk that have nothing to say about this provider
    layout: Layout = "plain"
    api_version: str = ""
    pass_headers: frozenset[str] = frozenset()  # headers of the client's that go up though they look like credentials
    pass_query: frozenset[str] = frozenset()  # … and parameters of the query
    paths: tuple[str, ...] = ()  # patterns of paths beyond its dialects' that get a key as well


ANY = ("*",)
_EVERY = frozenset(FAMILIES)
_OPENAI = frozenset({"openai"})
# Of OpenAI's API, beside what its dialects read; other servers copy them.
_OF_OPENAI = ("/v1/assistants", "/v1/threads", "/v1/videos", "/v1/realtime", "/v1/evals")
_ECHO: Echo = Echo(headers={"x-request-id": "handler"}, body={"request_id": "body"}, promised=True)

PRESETS: dict[str, Provider] = {
    preset.name: preset
    for preset in (
        Provider(
            "generic",
            "generic",
            _EVERY,
            stamp=Stamp(headers={"X-Request-ID": "{request_id}", "X-Session-ID": "{session_id}"}),
            echo=_ECHO,
            paths=ANY,
        ),
        Provider(
            "openai",
            "openai",
            frozenset({"openai"}),
            "https://api.openai.com/v1",
            "bearer",
            paths=(
                *_OF_OPENAI,
                "/v1/audio/voices",
                "/v1/audio/voice_consents",
                "/v1/chatkit",
                "/v1/memories",  # of Codex, as what stands below its own base
                "/backend-api/codex/memories",
                "/backend-api/codex/realtime",
                "/backend-api/codex/alpha/search",
            ),
        ),
        Provider("openai_compatible", "openai_compatible", _OPENAI, "", "bearer", paths=_OF_OPENAI),
        Provider(
            "anthropic",
            "anthropic",
            frozenset({"anthropic"}),
            "https://api.anthropic.com",
            "x-api-key",
            paths=(
                "/v1/agents",
                "/v1/sessions",
                "/v1/environments",
                "/v1/vaults",
                "/v1/memory_stores",
                "/v1/experimental",
            ),
        ),
        Provider(
            "gemini",
            "gemini",
            frozenset({"gemini"}),
            "https://generativelanguage.googleapis.com",
            "x-goog-api-key",
            paths=("/v1alpha/auth_tokens", "/ws/google.ai.generativelanguage.*", "/v1*/generatedFiles"),
        ),
        Provider(
            "morpheus",
            "morpheus",
            frozenset({"openai"}),
            "",
            "bearer",
            stamp=Stamp(
                headers={
                    "X-Request-ID": "{request_id}",
                    "X-Session-ID": "{session_id}",
                    "session_id": "{session_id}",
                    "model_id": "{model_id}",
                },
                body={"request_id": "{request_id}"},
            ),
            echo=_ECHO,
            slots=5,
        ),
        # From here on nothing is promised: an id of ours that comes back is recognised, anything else says nothing.
        # Bodies get a member only where it is known to be taken: most of these refuse one they do not know.
        Provider(
            "azure",
            "azure",
            _OPENAI,
            "",
            "api-key",
            stamp=Stamp(headers={"x-ms-client-request-id": "{request_guid}"}),
            echo=Echo(headers={"x-ms-client-request-id": "handler"}),
            layout="azure",
            paths=(
                "/openai/assistants",
                "/openai/threads",
                "/openai/v1/videos",
                "/openai/realtime",
                "/openai/realtimeapi",
                "/openai/evals",
                "/openai/v1/realtime",
                "/openai/v1/video/generations",
                "/openai/v1/evals",
                "/openai/v1/assistants",
                "/openai/v1/threads",
            ),
        ),
        # The engine works under this id and makes the answer's own id of it; the header comes back if it is told to.
        Provider(
            "vllm",
            "vllm",
            _OPENAI,
            "",
            "bearer",
            stamp=Stamp(headers={"X-Request-ID": "{request_id}"}),
            echo=Echo(headers={"x-request-id": "handler"}, body={"id": "engine"}),
            paths=(
                "/health",
                "/ping",
                "/version",
                "/metrics",
                "/load",
                "/tokenize",
                "/detokenize",
                "/tokenizer_info",
                "/pooling",
                "/classify",
                "/score",
                "/v1/score",
                "/v2/embed",
                "/invocations",
                "/inference/v1/generate",
                "/v1/completions/render",
                "/v1/decisions",
                "/v1/realtime",
            ),
        ),
        # Elsewhere than in chat `rid` is refused for a list of prompts, or not known.
        Provider(
            "sglang",
            "sglang",
            _OPENAI,
            "",
            "bearer",
            stamp=Stamp(body={"rid": "{request_id}"}, body_at=frozenset({"/chat/completions"})),
            echo=Echo(body={"id": "engine"}),
            paths=(
                "/health",
                "/health_generate",
                "/ping",
                "/metrics",
                "/generate",
                "/invocations",
                "/encode",
                "/classify",
                "/tokenize",
                "/detokenize",
                "/parse_function_call",
                "/separate_reasoning",
                "/v1/score",
                "/v1/classify",
                "/v1/tokenize",
                "/v1/detokenize",
                "/v1/videos",
                "/v1/loads",
                "/get_load",
                "/api/version",
                "/api/tags",
                "/api/show",
                "/api/chat",
                "/api/generate",
                "/get_*_info",
                "/model_info",
                "/server_info",
            ),
        ),
        Provider(
            "litellm",
            "litellm",
            _EVERY,
            "",
            "bearer",
            stamp=Stamp(headers={"x-litellm-call-id": "{request_id}"}),
            echo=Echo(headers={"x-litellm-call-id": "handler"}),
            paths=(
                *_OF_OPENAI,
                *("/assistants", "/threads", "/videos", "/realtime", "/evals", "/files", "/batches", "/vector_stores"),
                *("/containers", "/fine_tuning", "/interactions", "/ocr", "/search", "/rag", "/mcp", "/utils"),
                *("/v1/ocr", "/v1/search", "/v1/rag", "/v1/indexes", "/models", "/model/info", "/v1/model/info"),
                *("/v2/model/info", "/model_group/info", "/health", "/metrics"),
            ),
        ),
        Provider(
            "openrouter",
            "openrouter",
            _OPENAI,
            "https://openrouter.ai/api/v1",
            "bearer",
            paths=(
                "/api/v1/generation",
                "/api/v1/key",
                "/api/v1/auth/key",
                "/api/v1/credits",
                "/api/v1/providers",
                "/api/v1/activity",
                "/api/v1/embeddings/models",
                "/api/v1/endpoints",
                "/api/v1/videos",
            ),
        ),
        Provider(
            "ollama",
            "ollama",
            _OPENAI,
            "http://localhost:11434/v1",
            "bearer",
            paths=(
                "/api/version",
                "/api/tags",
                "/api/show",
                "/api/ps",
                "/api/chat",
                "/api/generate",
                "/api/embed",
                "/api/web_search",
                "/api/web_fetch",
            ),
        ),
        Provider("groq", "groq", _OPENAI, "https://api.groq.com/openai/v1", "bearer"),
        Provider(
            "mistral",
            "mistral",
            _OPENAI,
            "https://api.mistral.ai/v1",
            "bearer",
            paths=(
                "/v1/ocr",
                "/v1/agents",
                "/v1/conversations",
                "/v1/batch/jobs",
                "/v1/classifications",
                "/v1/chat/classifications",
                "/v1/audio/voices",
                "/v1/audio/transcriptions/realtime",
                "/v1/fine_tuning/models",
                "/v1/libraries",
                "/v1/connectors",
            ),
        ),
        Provider("deepseek", "deepseek", _OPENAI, "https://api.deepseek.com/v1", "bearer", paths=("/user/balance",)),
        Provider(
            "xai",
            "xai",
            _OPENAI,
            "https://api.x.ai/v1",
            "bearer",
            paths=(
                "/v1/api-key",
                "/v1/tokenize-text",
                "/v1/language-models",
                "/v1/image-generation-models",
                "/v1/video-generation-models",
                "/v1/chat/deferred-completion",
                "/v1/tts",
                "/v1/stt",
                "/v1/embedding-models",
                "/v1/videos",
                "/v1/documents/search",
                "/v1/realtime",
            ),
        ),
        # Any provider whose requests are to arrive as the client made them.
        Provider("pristine", "pristine", _EVERY, "", "auto", stamp=Stamp(namespace=False), paths=ANY),
    )
}
