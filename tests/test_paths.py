"""Where a path goes under an account's base URL."""

from __future__ import annotations

import pytest

from patchbay import dialects, paths
from patchbay.config import Account, Secret
from patchbay.providers import PRESETS
from patchbay.values import Origin


def account(base_path: str) -> Account:
    origin = Origin("https", "api.example", 443)
    return Account("a", PRESETS["openai_compatible"], Secret("literal", "k"), origin, base_path)


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", "/v1/chat/completions?x=1", "/v1/chat/completions?x=1"),
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1", "/v1/chat/completions", "/api/v1/chat/completions"),
        ("/v1beta/openai", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/api/v1", "/api/v1/responses/resp_1", "/api/v1/responses/resp_1"),
        ("/v1", "/v1/messages", "/v1/messages"),
        ("/proxy", "/v1/messages?beta=true", "/proxy/v1/messages?beta=true"),
        ("/gw", "/v1beta/models/g:generateContent", "/gw/v1beta/models/g:generateContent"),
        ("/api/v1", "/v1/rerank", "/api/v1/rerank"),
        ("/api/v1", "/health", "/api/v1/health"),
    ],
)
def test_a_path_is_read_under_the_base_url(base: str, path: str, expected: str) -> None:
    endpoint = dialects.endpoint("POST", path.partition("?")[0])

    assert paths.join(account(base), path, endpoint) == expected


def test_the_model_in_a_path_is_replaced_once() -> None:
    path = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"

    assert paths.with_model(path, "gemini-x", "tuned/y") == "/v1beta/models/tuned%2Fy:streamGenerateContent?alt=sse"
    assert paths.with_model(path, "other", "y") == path
