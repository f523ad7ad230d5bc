"""Which program sent a request."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from patchbay import client_tool
from patchbay.values.http import Headers

USER_AGENTS = {
    "claude-cli/2.1.197 (external, cli)": "claude-code",
    "codex_cli_rs/0.63.0 (Mac OS 15.1.0; arm64) iTerm.app/3.6.5": "codex",
    "codex_exec/0.169.0 (Ubuntu 24.4.0; x86_64) unknown": "codex",
    "codex-tui/0.169.0": "codex",
    "Codex Desktop/1.0": "codex",
    "GeminiCLI/0.8.1/gemini-2.5-pro (linux; x64) google-api-nodejs-client/9.15.1": "gemini-cli",
    "GeminiCLI-tui/0.61.0 (linux)": "gemini-cli",
    "QwenCode/0.24.4 (linux; x64)": "qwen-code",
    "opencode/1.18.33 ai-sdk/provider-utils/3.0.9 runtime/bun/1.2.21": "opencode",
    "Charm Crush/0.12": "crush",
    "GitHubCopilotChat/0.32.0": "copilot",
    "OpenAI/Python 1.52.0": "openai-python",
    "AsyncOpenAI/Python 1.52.0": "openai-python",
    "AzureOpenAI/JS 4.70.2": "azure-openai-node",
    "OpenAI/JS 5.12.2": "openai-node",
    "OpenAIClientImpl/Java 0.1": "openai-java",
    "Anthropic/Python 0.60.0": "anthropic-python",
    "Anthropic/JS 0.60.0": "anthropic-node",
    "google-genai-sdk/1.20.0 gl-python/3.12.3": "google-genai",
    "ai-sdk/openai-compatible/1.0.18 runtime/bun/1.2.21": "vercel-ai",
    "ai/5.0.0": "vercel-ai",
    "curl/8.5.0": "curl",
    "python-httpx/0.28.1": "python-httpx",
    "python-requests/2.32": "python-requests",
    "Python/3.12 aiohttp/3.9": "aiohttp",
    "Mozilla/5.0 (X11; Linux x86_64)": "browser",
    "node": "node",
    "Acme-Agent/1.0": "Acme-Agent",
    " my_tool ": "my_tool",
    "a-very-long-name-of-a-tool-of-the-house/1": "a-very-long-name-of-a-to",
    "": "",
    "/1": "",
    "\u4f60\u597d/1": "",
    "\x1b[31mred/1": "",
}  # fmt: skip


@pytest.mark.parametrize("sent", USER_AGENTS)
def test_a_program_is_named_by_its_user_agent(sent: str) -> None:
    assert client_tool.of(Headers([("User-Agent", sent)])) == USER_AGENTS[sent]


@pytest.mark.parametrize(
    ("header", "value", "tool"),
    [("X-Claude-Code-Session-Id", "1", "claude-code"), ("X-OpenCode-Session", "ses_1", "opencode"),
     ("X-Kilocode-Version", "4.1", "kilo-code"), ("X-Roo-Task-Id", "8b3a", "roo-code"), ("X-Title", "Cline", "Cline"),
     ("originator", "codex_vscode", "codex"), ("X-App", "cli", "openai-node")],
)  # fmt: skip
def test_a_program_goes_before_the_sdk_that_it_uses(header: str, value: str, tool: str) -> None:
    assert client_tool.of(Headers([("User-Agent", "OpenAI/JS 5.12.2"), (header, value)])) == tool


def test_a_request_without_a_name_comes_from_an_unknown_program() -> None:
    assert client_tool.of(Headers()) == ""
    assert client_tool.of(Headers([("X-Title", "\x00"), ("User-Agent", "curl/8")])) == "curl"


@pytest.mark.parametrize("key", ["sk-ant-api03-" + "a1B2c3D4" * 11, "AIza" + "Sy0aB1cD2" * 4, "0123456789abcdef" * 3])
@pytest.mark.parametrize("header", ["User-Agent", "X-Title", "originator"])
def test_what_may_be_a_key_is_no_name(header: str, key: str) -> None:
    assert client_tool.of(Headers([(header, key)])) == ""
    assert client_tool.of(Headers([(header, f"{key}/1.0 x")])) == ""


@given(st.text(max_size=400), st.sampled_from(["user-agent", "originator", "x-title"]))
def test_any_text_gives_a_short_name_or_none(text: str, header: str) -> None:
    found = client_tool.of(Headers([(header, text)]))
    assert re.fullmatch(r"(?:[A-Za-z0-9][\w.+-]{0,23})?", found, re.ASCII)
