"""
Presets: what a provider speaks, how it takes a credential, what is stamped on a request and what comes back.

A row here, or the same keys in YAML, is all a new provider needs. `promised` is the contract: where it is true, a value
that comes back other than the one that went up belongs to another request.
"""

from __future__ import annotations

from ..dialects import FAMILIES
from ..values.account import (
    Echo,
    Provider,
    Stamp,
)

# What can be said about an answer that is not ours; the detectors themselves are in `crosstalk`.
DETECTORS = (
    "contract", "tag", "duplicate", "tool-call", "strange-id", "stripped", "settings", "shape", "framing", "stray-head",
    "disorder", "created", "took", "age", "early", "model", "tool-name", "same-text", "results",
)  # fmt: skip


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
