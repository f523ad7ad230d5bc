"""
Presets: the protocols of a provider, its credential, the stamps on its requests and their echoes in its answers.

A row here, or the same keys in YAML, adds a provider. `promised`: an echo with another value is of another request.
"""

from __future__ import annotations

from typing import Any

from ..dialects import FAMILIES
from ..values.account import CredentialForm, Echo, LoginFile, Provider, ServiceVariables, Stamp

_EVERY = frozenset(FAMILIES)
_OPENAI, _ANTHROPIC, _GEMINI = (frozenset({family}) for family in ("openai", "anthropic", "gemini"))
_ECHO = Echo(headers={"x-request-id": "handler"}, body={"request_id": "body"}, promised=True)
_SESSION = {"X-Request-ID": "{request_id}", "X-Session-ID": "{session_id}"}
# OpenAI's API beyond its dialects; other servers copy it.
_OPENAI_PATHS = "/v1/assistants /v1/threads /v1/videos /v1/realtime /v1/evals "
# Further paths of a provider that get the key.
_PATHS = {
    "generic": "*",
    "pristine": "*",
    "openai_compatible": _OPENAI_PATHS,
    "openai": (
        f"{_OPENAI_PATHS}"
        "/v1/audio/voices /v1/audio/voice_consents /v1/chatkit /v1/memories /backend-api/codex/memories "
        "/backend-api/codex/realtime /backend-api/codex/alpha/search"
    ),
    "anthropic": "/v1/agents /v1/sessions /v1/environments /v1/vaults /v1/memory_stores /v1/experimental",
    "gemini": "/v1alpha/auth_tokens /ws/google.ai.generativelanguage.* /v1*/generatedFiles",
    "azure": (
        "/openai/assistants /openai/threads /openai/v1/videos /openai/realtime /openai/realtimeapi /openai/evals "
        "/openai/v1/realtime /openai/v1/video/generations /openai/v1/evals /openai/v1/assistants /openai/v1/threads"
    ),
    "vllm": (
        "/health /ping /version /metrics /load /tokenize /detokenize /tokenizer_info /pooling /classify /score "
        "/v1/score /v2/embed /invocations /inference/v1/generate /v1/completions/render /v1/decisions /v1/realtime"
    ),
    "sglang": (
        "/health /health_generate /ping /metrics /generate /invocations /encode /classify /tokenize /detokenize "
        "/parse_function_call /separate_reasoning /v1/score /v1/classify /v1/tokenize /v1/detokenize /v1/videos "
        "/v1/loads /get_load /api/version /api/tags /api/show /api/chat /api/generate /get_*_info /model_info "
        "/server_info"
    ),
    "litellm": (
        f"{_OPENAI_PATHS}"
        "/assistants /threads /videos /realtime /evals /files /batches /vector_stores /containers /fine_tuning "
        "/interactions /ocr /search /rag /mcp /utils /v1/ocr /v1/search /v1/rag /v1/indexes /models /model/info "
        "/v1/model/info /v2/model/info /model_group/info /health /metrics"
    ),
    "openrouter": (
        "/api/v1/generation /api/v1/key /api/v1/auth/key /api/v1/credits /api/v1/providers /api/v1/activity "
        "/api/v1/embeddings/models /api/v1/endpoints /api/v1/videos"
    ),
    "ollama": (
        "/api/version /api/tags /api/show /api/ps /api/chat /api/generate /api/embed /api/web_search /api/web_fetch"
    ),
    "mistral": (
        "/v1/ocr /v1/agents /v1/conversations /v1/batch/jobs /v1/classifications /v1/chat/classifications "
        "/v1/audio/voices /v1/audio/transcriptions/realtime /v1/fine_tuning/models /v1/libraries /v1/connectors"
    ),
    "deepseek": "/user/balance",
    "xai": (
        "/v1/api-key /v1/tokenize-text /v1/language-models /v1/image-generation-models /v1/video-generation-models "
        "/v1/chat/deferred-completion /v1/tts /v1/stt /v1/embedding-models /v1/videos /v1/documents/search "
        "/v1/realtime"
    ),
}
# As tools read them.
_VARIABLES = {
    "anthropic": ServiceVariables(("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"), ("ANTHROPIC_BASE_URL",)),
    "openai": ServiceVariables(
        ("OPENAI_API_KEY", "OPENAI_KEY"), ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "openai_compatible"
    ),
    "gemini": ServiceVariables(
        ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"),
        ("GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL"),
    ),
    "openrouter": ServiceVariables(("OPENROUTER_API_KEY", "OPENROUTER_KEY")),
    "groq": ServiceVariables(("GROQ_API_KEY",)),
    "mistral": ServiceVariables(("MISTRAL_API_KEY",)),
    "deepseek": ServiceVariables(("DEEPSEEK_API_KEY",)),
    "xai": ServiceVariables(("XAI_API_KEY", "GROK_API_KEY")),
    "azure": ServiceVariables(("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"), ("AZURE_OPENAI_ENDPOINT",)),
}


def _preset(
    name: str, families: frozenset[str], base_url: str = "", credential: CredentialForm = "bearer", **more: Any
) -> Provider:
    paths = tuple(_PATHS.get(name, "").split())
    variables = _VARIABLES.get(name, ServiceVariables())
    return Provider(name, name, families, base_url, credential, paths=paths, variables=variables, **more)


PRESETS: dict[str, Provider] = {
    preset.name: preset
    for preset in (
        _preset("generic", _EVERY, credential="auto", stamp=Stamp(headers=_SESSION), echo=_ECHO),
        _preset("openai", _OPENAI, "https://api.openai.com/v1"),
        _preset("openai_compatible", _OPENAI),
        _preset("anthropic", _ANTHROPIC, "https://api.anthropic.com", "x-api-key"),
        # Logins that the tools keep on this machine, sent as the tools themselves send them.
        _preset(
            "claude_login",
            _ANTHROPIC,
            "https://api.anthropic.com",
            login=LoginFile("claude", "~/.claude/.credentials.json", "/claudeAiOauth/accessToken"),
            list_items={"anthropic-beta": "oauth-2025-04-20"},
        ),
        _preset(
            "codex_login",
            _OPENAI,
            "https://chatgpt.com/backend-api/codex",
            login=LoginFile(
                "codex", "~/.codex/auth.json", "/tokens/access_token", {"ChatGPT-Account-Id": "/tokens/account_id"}
            ),
            endpoints=("/responses*", "/models*"),
        ),
        _preset("gemini", _GEMINI, "https://generativelanguage.googleapis.com", "x-goog-api-key"),
        _preset(
            "morpheus",
            _OPENAI,
            stamp=Stamp(
                headers={**_SESSION, "session_id": "{session_id}", "model_id": "{model_id}"},
                body={"request_id": "{request_id}"},
            ),
            echo=_ECHO,
            slots=5,
        ),
        # The echoes below are not promised: our id is recognised, another value says nothing.
        # Bodies are stamped only for providers that accept the member: most refuse unknown ones.
        _preset(
            "azure",
            _OPENAI,
            credential="api-key",
            stamp=Stamp(headers={"x-ms-client-request-id": "{request_guid}"}),
            echo=Echo(headers={"x-ms-client-request-id": "handler"}),
            layout="azure",
        ),
        # The engine derives the answer's id from this header; the header is echoed if so configured.
        _preset(
            "vllm",
            _OPENAI,
            stamp=Stamp(headers={"X-Request-ID": "{request_id}"}),
            echo=Echo(headers={"x-request-id": "handler"}, body={"id": "engine"}),
        ),
        # Endpoints other than chat refuse `rid` for a list of prompts, or do not know it.
        _preset(
            "sglang",
            _OPENAI,
            stamp=Stamp(body={"rid": "{request_id}"}, body_paths=frozenset({"/chat/completions"})),
            echo=Echo(body={"id": "engine"}),
        ),
        _preset(
            "litellm",
            _EVERY,
            stamp=Stamp(headers={"x-litellm-call-id": "{request_id}"}),
            echo=Echo(headers={"x-litellm-call-id": "handler"}),
        ),
        _preset("openrouter", _OPENAI, "https://openrouter.ai/api/v1"),
        _preset("ollama", _OPENAI, "http://localhost:11434/v1"),
        _preset("groq", _OPENAI, "https://api.groq.com/openai/v1"),
        _preset("mistral", _OPENAI, "https://api.mistral.ai/v1"),
        _preset("deepseek", _OPENAI, "https://api.deepseek.com/v1"),
        _preset("xai", _OPENAI, "https://api.x.ai/v1"),
        # Any provider whose requests must arrive unchanged.
        _preset("pristine", _EVERY, credential="auto", stamp=Stamp(patchbay_headers=False)),
    )
}
