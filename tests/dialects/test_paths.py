"""Which path means what, in every dialect."""

from __future__ import annotations

import pytest

from patchbay import dialects
from patchbay.values.http import Endpoint

from ..each_row import each_row

CHAT, RESPONSES, CLAUDE, GEMINI = "openai_chat", "openai_responses", "anthropic", "gemini"

PATHS = [
    ("POST", "/v1/chat/completions", CHAT, "generation", "/chat/completions"),
    ("POST", "/api/v1/chat/completions", CHAT, "generation", "/chat/completions"),
    ("POST", "/chat/completions", CHAT, "generation", "/chat/completions"),
    ("POST", "/v1beta/openai/chat/completions", CHAT, "generation", "/chat/completions"),
    ("POST", "/v1/completions", CHAT, "generation", "/completions"),
    ("POST", "/v1/embeddings", CHAT, "generation", "/embeddings"),
    ("POST", "/v1/images/generations", CHAT, "generation", "/images/generations"),
    ("POST", "/v1/audio/transcriptions", CHAT, "generation", "/audio/transcriptions"),
    ("GET", "/v1/models", CHAT, "resource", "/models"),
    ("GET", "/v1/models/meta-llama/Llama-3", CHAT, "resource", "/models/meta-llama/Llama-3"),
    ("GET", "/models", CHAT, "resource", "/models"),
    ("GET", "/v1beta/openai/models", CHAT, "resource", "/models"),
    ("POST", "/v1/files", CHAT, "resource", "/files"),
    ("GET", "/v1/files/file-abc/content", CHAT, "resource", "/files/file-abc/content"),
    ("POST", "/v1/batches/batch_1/cancel", CHAT, "resource", "/batches/batch_1/cancel"),
    ("GET", "/v1/chat/completions/chatcmpl-1", CHAT, "resource", "/chat/completions/chatcmpl-1"),
    ("POST", "/v1/responses", RESPONSES, "generation", "/responses"),
    ("POST", "/backend-api/codex/responses", RESPONSES, "generation", "/responses"),
    ("POST", "/v1/responses/compact", RESPONSES, "generation", "/responses/compact"),
    ("GET", "/v1/responses", RESPONSES, "generation", "/responses"),  # a WebSocket
    ("POST", "/v1/responses/input_tokens", RESPONSES, "resource", "/responses/input_tokens"),
    ("GET", "/v1/responses/resp_1", RESPONSES, "resource", "/responses/resp_1"),
    ("DELETE", "/openai/v1/responses/resp_1", RESPONSES, "resource", "/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel", RESPONSES, "resource", "/responses/resp_1/cancel"),
    ("GET", "/v1/responses/resp_1/input_items", RESPONSES, "resource", "/responses/resp_1/input_items"),
    ("POST", "/v1/conversations", RESPONSES, "resource", "/conversations"),
    ("GET", "/v1/conversations/conv_1/items", RESPONSES, "resource", "/conversations/conv_1/items"),
    ("POST", "/v1/messages", CLAUDE, "generation", "/v1/messages"),
    ("POST", "/anthropic/v1/messages", CLAUDE, "generation", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens", CLAUDE, "resource", "/v1/messages/count_tokens"),
    ("POST", "/v1/messages/batches", CLAUDE, "resource", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches/msgbatch_1/results", CLAUDE, "resource", "/v1/messages/batches/msgbatch_1/results"),
    ("GET", "/v1beta/models", GEMINI, "resource", "/v1beta/models"),
    ("POST", "/v1beta/cachedContents", GEMINI, "resource", "/v1beta/cachedContents"),
    ("DELETE", "/v1beta/cachedContents/abc", GEMINI, "resource", "/v1beta/cachedContents/abc"),
    ("POST", "/upload/v1beta/files", GEMINI, "resource", "/upload/v1beta/files"),
    ("GET", "/v1beta/files/abc", GEMINI, "resource", "/v1beta/files/abc"),
    ("POST", "/v1beta/interactions", GEMINI, "generation", "/v1beta/interactions"),
    ("GET", "/v1beta/interactions/x1", GEMINI, "resource", "/v1beta/interactions/x1"),
    ("POST", "/v1internal:generateContent", GEMINI, "generation", "/v1internal:generateContent"),
    ("POST", "/v1internal:loadCodeAssist", GEMINI, "resource", "/v1internal:loadCodeAssist"),
]


@each_row(("method", "path", "dialect", "kind", "suffix"), PATHS)
def test_a_path_is_known(method: str, path: str, dialect: str, kind: str, suffix: str) -> None:
    found = dialects.endpoint(method, path)

    assert (found.dialect, found.kind, found.suffix) == (dialect, kind, suffix)
    assert found.family == dialects.of(dialect).family


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        ("/gw/v1/models/gemini-3:streamGenerateContent", "gemini-3", True),
        ("/v1alpha/tunedModels/mine-1:generateContent", "mine-1", False),
        ("/v1beta/models/text-embedding-004:batchEmbedContents", "text-embedding-004", False),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-3:streamGenerateContent", "gemini-3", True),
        ("/v1beta1/projects/p/locations/l/publishers/google/models/gemini-3:generateContent", "gemini-3", False),
    ],
)
def test_gemini_names_model_and_stream_in_the_path(path: str, model: str, stream: bool) -> None:
    found = dialects.endpoint("POST", path)

    assert (found.dialect, found.kind, found.model, found.stream) == (GEMINI, "generation", model, stream)
    assert path.endswith(found.suffix)
    assert found.suffix.startswith("/v1")


def test_counting_tokens_is_cheap_and_still_has_a_model() -> None:
    found = dialects.endpoint("POST", "/v1beta/models/gemini-3:countTokens")

    assert (found.dialect, found.kind, found.model) == (GEMINI, "resource", "gemini-3")


def test_claude_on_vertex_speaks_messages() -> None:
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4@20250514:streamRawPredict"
    found = dialects.endpoint("POST", path)

    assert (found.dialect, found.model, found.stream) == (CLAUDE, "claude-sonnet-4@20250514", True)


def test_an_azure_deployment_is_the_model() -> None:
    found = dialects.endpoint("POST", "/openai/deployments/gpt-prod/chat/completions")

    assert (found.dialect, found.suffix, found.model) == (CHAT, "/chat/completions", "gpt-prod")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/"),
        ("GET", "/"),
        ("GET", "/health"),
        ("POST", "/v1/threads/t/messages"),
        ("GET", "/forms/f/responses/r"),
        ("GET", "/downloads/files/report.pdf"),
        ("GET", "/files/report.pdf"),
        ("PUT", "/v1/chat/completions"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/telemetry"),
        ("POST", "/api/event_logging/batch"),
        ("GET", "/v1/chat/completionsx"),
    ],
)
def test_a_path_of_no_dialect_is_nobody_s(method: str, path: str) -> None:
    assert dialects.endpoint(method, path) == Endpoint(suffix=path)


def test_paths_of_no_dialect_have_errors_all_the_same() -> None:
    assert dialects.of("").family == ""
