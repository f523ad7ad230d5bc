"""The program that sent a request, by the headers in which programs name themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from . import secret_patterns
from .values.http import Headers

LONGEST_NAME = 24  # characters of a name

# A program in front of an SDK leaves the SDK's User-Agent, and names itself by a header of its own.
_BY_HEADER: Mapping[str, str] = {
    "x-claude-code-session-id": "claude-code",
    "x-opencode-session": "opencode",
    "x-kilocode-version": "kilo-code",
    "x-roo-task-id": "roo-code",
}
_NAMING = ("originator", "x-title", "user-agent")  # the headers that hold a name, the program before its SDK
_BY_NAME: Mapping[str, str] = {
    "claude-cli": "claude-code",
    "claude-vscode": "claude-code",
    "geminicli": "gemini-cli",
    "qwencode": "qwen-code",
    "charm crush": "crush",
    "roocode": "roo-code",
    "githubcopilotchat": "copilot",
    "githubcopilot": "copilot",
    "factory-cli": "droid",
    "google-genai-sdk": "google-genai",
    "ai-sdk": "vercel-ai",
    "ai": "vercel-ai",
    "mozilla": "browser",
    "undici": "node",
    "python": "aiohttp",
}
_BY_BEGIN: Mapping[str, str] = {"codex": "codex", "geminicli-": "gemini-cli", "opencode": "opencode"}
# `OpenAI/Python 1.2`, `AsyncAnthropic/Python 0.4`, `AzureOpenAI/JS 4.0`
_SDK = re.compile(r"(?:async)?(azure)?(openai|anthropic)(?:client(?:async)?impl)?/([a-z]+) ", re.ASCII)
_LANGUAGES: Mapping[str, str] = {"js": "node"}
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
_LONGEST_FIELD = 256  # characters of a header that are read


def of(headers: Headers) -> str:
    """
    Return the short name of the program that sent *headers*: `claude-code`, `openai-python`, …

    A program that is not known is called by the product token of its User-Agent. Empty: it names itself nowhere, or
    by what may be a key. At most LONGEST_NAME characters: letters, digits, and `.`, `_`, `+`, `-`.
    """
    sent = headers.names()
    for header, tool in _BY_HEADER.items():
        if header in sent:
            return tool
    for name in _NAMING:
        if name in sent and (tool := _named(headers.get(name)[:_LONGEST_FIELD])):
            return tool
    return ""


@lru_cache(256)
def _named(field: str) -> str:
    text = field.strip().lower()
    if sdk := _SDK.match(text):
        return "-".join(filter(None, (sdk[1], sdk[2], _LANGUAGES.get(sdk[3], sdk[3]))))[:LONGEST_NAME]
    product = text.partition("/")[0].strip()
    if tool := _BY_NAME.get(product):
        return tool
    begun = next((tool for begin, tool in _BY_BEGIN.items() if product.startswith(begin)), "")
    return begun or _token(field.strip())


def _token(text: str) -> str:
    found = _TOKEN.match(text)
    return "" if found is None or secret_patterns.may_be_key(found[0]) else found[0][:LONGEST_NAME]
