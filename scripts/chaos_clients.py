"""
The clients of `scripts/chaos`: official SDKs and plain requests in four dialects.

None of them asks again by itself, so that what fails is seen to fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
from google import genai
from google.genai import types

from patchbay.values import header_names
from tests.end_to_end.dialogue import body, credential, path

CLIENT = "sk-client-of-chaos-0123456789"
MODEL = "sim-large"
# What an error says of the bound that was reached, or of all accounts.
BOUNDS = ("attempts_exhausted", "time_exhausted", "queue_exhausted", "credentials_exhausted", "queue_full",
          "model_cooldown", "auth_unavailable", "auth_not_found", "owner_unavailable", "not_repeatable",
          "usage_limit_reached", "insufficient_quota", "upstream_unreachable", "upstream_failing",
          "upstream_overloaded", "upstream_slow", "upstream_no_answer")  # fmt: skip
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing to ask. *turns* is the conversation so far, with a turn of its user at the end."""

    url: str
    dialect: str
    headers: Mapping[str, str]
    turns: Sequence[str]
    stream: bool
    raw: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """
    What a client made of the answer: its *text*, or why it *failed* and whether that is *named*.

    *served* is the request id of the answer, *digest* the SHA-256 of its body; an SDK shows neither.
    """

    text: str = ""
    failed: str = ""
    named: bool = True
    served: str = ""
    digest: str = ""


def ask(turn: Turn) -> Heard:
    """Ask once and return what was heard."""
    if turn.raw:
        return _plain(turn)
    try:
        return Heard(_SDKS[turn.dialect](turn))
    except Exception as e:  # the SDKs share no class of errors
        # what an SDK makes of an error in a stream has no head any more; the head named the bound
        head = getattr(getattr(e, "response", None), "headers", {header_names.GAVE_UP: ""})
        said = f"{e} {getattr(e, 'body', '')}"
        return Heard(failed=f"{type(e).__name__}: {str(e)[:160]}", named=_names_bound(head, said))


def _plain(turn: Turn) -> Heard:
    try:
        answer = httpx.post(
            turn.url + path(turn.dialect, stream=turn.stream),
            json=body(turn.dialect, list(turn.turns), stream=turn.stream),
            headers=credential(turn.dialect, CLIENT) | dict(turn.headers), timeout=TIMEOUT, trust_env=False,
        )  # fmt: skip
    except httpx.HTTPError as e:
        return Heard(failed=type(e).__name__, named=False)
    served = answer.headers.get(header_names.REQUEST_ID, "")
    if answer.status_code >= 400 or '"error":{' in answer.text.replace(" ", ""):
        told = f"{answer.status_code} {answer.headers.get(header_names.GAVE_UP) or answer.text[:160]}"
        return Heard(failed=told, named=_names_bound(answer.headers, answer.text), served=served)
    return Heard(answer.text[:200], served=served, digest=hashlib.sha256(answer.content).hexdigest())


def _names_bound(head: Container[str], text: str) -> bool:
    return header_names.GAVE_UP in head or any(code in text for code in BOUNDS)


def _messages(turn: Turn) -> Any:  # what each SDK calls otherwise
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turn.turns)]


def _openai(turn: Turn) -> openai.OpenAI:
    url = f"{turn.url}/v1"
    return openai.OpenAI(base_url=url, api_key=CLIENT, default_headers=turn.headers, max_retries=0)


def _chat(turn: Turn) -> str:
    with _openai(turn) as sdk:
        chat = sdk.chat.completions
        if turn.stream:
            pieces = chat.create(model=MODEL, messages=_messages(turn), stream=True)
            return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        return chat.create(model=MODEL, messages=_messages(turn)).choices[0].message.content or ""


def _responses(turn: Turn) -> str:
    with _openai(turn) as sdk:
        if turn.stream:
            events = sdk.responses.create(model=MODEL, input=_messages(turn), stream=True)
            return "".join(event.delta for event in events if event.type == "response.output_text.delta")
        return sdk.responses.create(model=MODEL, input=_messages(turn)).output_text


def _anthropic(turn: Turn) -> str:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 200, "messages": _messages(turn)}
    with anthropic.Anthropic(base_url=turn.url, api_key=CLIENT, default_headers=turn.headers, max_retries=0) as sdk:
        if turn.stream:
            with sdk.messages.stream(**asked) as answer:
                return "".join(answer.text_stream)
        return "".join(block.text for block in sdk.messages.create(**asked).content if block.type == "text")


def _google(turn: Turn) -> str:
    once = types.HttpRetryOptions(attempts=1)
    options = types.HttpOptions(base_url=turn.url, headers=dict(turn.headers), retry_options=once)
    sdk = genai.Client(api_key=CLIENT, http_options=options)  # it closes its connections when nobody holds it
    contents: list[types.ContentUnion] = [
        types.Content(role=("user", "model")[n % 2], parts=[types.Part(text=text)]) for n, text in enumerate(turn.turns)
    ]
    if turn.stream:
        pieces = sdk.models.generate_content_stream(model=MODEL, contents=contents)
        return "".join(piece.text or "" for piece in pieces)
    return sdk.models.generate_content(model=MODEL, contents=contents).text or ""


_SDKS: Mapping[str, Callable[[Turn], str]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _anthropic,
    "gemini": _google,
}
