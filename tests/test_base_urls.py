"""A path tells where the base URL of a tool is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.base_urls import endpoint_twice, version_missing, version_twice

GEMINI = "/v1beta/models/gemini-x:generateContent"


@pytest.mark.parametrize(
    ("path", "ends_in", "right"),
    [
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions", "/v1"),
        ("/v1/chat/completions/v1/chat/completions", "/v1/chat/completions", ""),
        ("/chat/completions/chat/completions", "/chat/completions", "/v1"),
        ("/v1/responses/responses", "/v1/responses", "/v1"),
        ("/v1/messages/v1/messages", "/v1/messages", ""),
        ("/v1/messages/v1/messages/count_tokens", "/v1/messages", ""),
        ("/v1/messages/chat/completions", "/v1/messages", "/v1"),
        (f"{GEMINI}{GEMINI}", GEMINI, ""),
        ("/api/v1/chat/completions/chat/completions", "/api/v1/chat/completions", "/api/v1"),
    ],
)
def test_a_base_url_that_ends_in_an_endpoint_is_recognised(path: str, ends_in: str, right: str) -> None:
    found = endpoint_twice("POST", path)
    assert found is not None
    assert found.what == f"ends in {ends_in}, the path of an endpoint"
    assert found.path == right


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/v1/chat/completions",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1/responses/resp_1/input_items",
        "/v1/responses/compact",
        "/openai/deployments/x/chat/completions",
        "/v1/chat/completions/chatcmpl-1/messages",
        GEMINI,
        "/nothing/nothing",
        "/",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_of_one_endpoint_is_none(method: str, path: str) -> None:
    assert endpoint_twice(method, path) is None


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/messages", "/v1"),
        ("/messages/count_tokens", "/v1"),
        ("/models/gemini-x:generateContent", "/v1beta"),
    ],
)
def test_a_missing_version_is_named(path: str, version: str) -> None:
    found = version_missing("POST", path)
    assert found is not None
    assert (found.what, found.path) == (f"lacks {version} at its end", version)


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/api/claude_code/settings", "/rerank", "", "/metrics"])
def test_other_paths_lack_none(path: str) -> None:
    assert version_missing("GET", path) is None


@given(st.text(max_size=80))
def test_any_path_is_read(path: str) -> None:
    endpoint_twice("POST", path)
    version_missing("POST", f"/{path}")


@pytest.mark.parametrize(
    ("path", "version", "right"),
    [
        ("/v1/v1/messages", "/v1", ""),
        ("/v1/v1/v1/messages", "/v1", ""),
        ("/openai/v1/v1/chat/completions", "/v1", "/openai"),
        (f"/v1beta{GEMINI}", "/v1beta", ""),
        (f"/v1{GEMINI}", "/v1", ""),
    ],
)
def test_a_version_that_is_there_twice_is_recognised(path: str, version: str, right: str) -> None:
    found = version_twice(path)
    assert found is not None
    assert (found.what, found.path) == (f"ends in {version}, which the tool adds itself", right)


@pytest.mark.parametrize("path", ["/v1/messages", GEMINI, "/v1/v11/messages", "/", "", "/odd/v1/v1/x"])
def test_a_version_that_is_there_once_is_no_mistake(path: str) -> None:
    assert version_twice(path) is None
