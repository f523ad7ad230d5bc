"""
Words of a client's that a provider quotes: no account is the worse for them.

The texts are made from the phrases and codes of the rules themselves, so a new rule is attacked as well.
"""

# ruff: noqa: RUF001 - quotation marks of all kinds

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, product
from re import _constants as kinds, _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts import outcome, quoted_text, stated_limits
from patchbay.accounts.outcome import RULES
from patchbay.accounts.quoted_text import ClientText, own_words
from patchbay.body import Body
from patchbay.dialects.outcome_rules import BLAMELESS
from patchbay.values.account import ErrorRule
from patchbay.values.answer import Head
from patchbay.values.decision import Outcome
from patchbay.values.http import Headers

from ..each_row import each_row

NOW = 1_790_000_000.0
HARMLESS = "zebra crossing ahead"


def samples(pattern: str) -> list[str]:
    """Return texts that *pattern* finds: one for each alternative, with what is optional and without it."""
    found = {" ".join(text.split()) for text in _each(parser.parse(pattern))}
    return sorted(text for text in found if re.search(pattern, text))


def _each(parsed: Any) -> Iterator[str]:
    for parts in product(*(list(_one(code, value)) for code, value in parsed)):
        yield "".join(parts)


def _one(code: Any, value: Any) -> Iterator[str]:
    if code is kinds.LITERAL:
        yield chr(value)
    elif code is kinds.BRANCH:
        for branch in value[1]:
            yield from _each(branch)
    elif code is kinds.SUBPATTERN:
        yield from _each(value[3])
    elif code is kinds.MAX_REPEAT:
        low, high, inner = value
        if high == 1:
            yield from ("", *_each(inner)) if low == 0 else _each(inner)
        else:  # a gap
            yield " x " if any(each is kinds.ANY for each, _ in inner) else "x"
            yield from [""] if low == 0 and inner[0][0] is kinds.SUBPATTERN else []
    elif code is kinds.IN:
        yield " " if (kinds.CATEGORY, kinds.CATEGORY_SPACE) in value else "x"
    else:  # a place, not a text
        yield ""


# Each phrase once, by the pattern that finds it.
BY_PATTERN: dict[str, list[str]] = {}
for _rule in (rule for rules in RULES.values() for rule in rules if rule.phrase and not rule.is_blameless):
    if _rule.phrase.pattern in BY_PATTERN:
        continue
    _known = set(chain.from_iterable(BY_PATTERN.values()))
    _new = [text for text in samples(_rule.phrase.pattern) if text not in _known]
    BY_PATTERN[_rule.phrase.pattern] = _new[:: len(_new) // 40 + 1]  # of very many, some from everywhere
PHRASES = sorted(chain.from_iterable(BY_PATTERN.values()))
CODES = sorted(
    {code for rules in RULES.values() for rule in rules if rule.kind not in BLAMELESS for code in rule.codes}
)


def test_the_sampler_knows_every_phrase() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert not rule.phrase or samples(rule.phrase.pattern), rule.phrase
    assert len(PHRASES) >= 60


# --- how a provider says it: (family, status, body) of a message


def _openai(status: int, **more: Any) -> Callable[[str], tuple[str, int, Any]]:
    return lambda text: ("openai", status, {"error": {"message": text, **more}})


def _anthropic(status: int, kind: str) -> Callable[[str], tuple[str, int, Any]]:
    return lambda text: ("anthropic", status, {"type": "error", "error": {"type": kind, "message": text}})


ASKED = {"type": "invalid_request_error", "param": None}
SHAPES: dict[str, Callable[[str], tuple[str, int, Any]]] = {
    "openai param": _openai(400, type="invalid_request_error", param="messages[0].role", code="invalid_value"),
    "openai type": _openai(400, **ASKED),
    "openai nothing": _openai(400),
    "openai 404": _openai(404, **ASKED),
    "openai 413": _openai(413),
    "openai 422": _openai(422, **ASKED),
    "openai 401": _openai(401),
    "openai 402": _openai(402),
    "openai 403": _openai(403, type="invalid_request_error"),
    "openai 403 param": _openai(403, param="tools[0].name", code="invalid_value"),
    "openai 429": _openai(429, type="rate_limit_error"),
    "openai 500": _openai(500, type="server_error"),
    "openai 503": _openai(503),
    "a good status": lambda text: ("openai", 200, {"error": {"code": 400, "message": text}}),
    "openrouter raw": lambda text: ("openai", 400, {"error": {
        "code": 400, "message": "Provider returned error",
        "metadata": {"raw": json.dumps({"error": {"message": text}})}}}),
    "mistral": lambda text: ("openai", 400, {"object": "error", "message": text, "type": "invalid_request_error"}),
    "flat": lambda text: ("openai", 400, {"error": text}),
    "xai": lambda text: ("openai", 400, {"code": "Client specified an invalid argument", "error": text}),
    "fastapi": lambda text: ("openai", 422, {"detail": [
        {"loc": ["body", "messages", 0, "role"], "msg": f"Input should be right: {text}",
         "input": text, "ctx": {"got": text}}]}),
    "fastapi 400": lambda text: ("openai", 400, {"detail": [
        {"loc": ["body", "m"], "msg": text, "input": {"message": text}}]}),
    "fastapi text": lambda text: ("openai", 400, {"detail": text}),
    "vllm": lambda text: ("openai", 400, {"object": "error", "message": text, "type": "BadRequestError", "code": 400}),
    "plain text": lambda text: ("openai", 400, text.encode()),
    "html": lambda text: ("openai", 403, f"<html><body>{text}</body></html>".encode()),
    "anthropic": _anthropic(400, "invalid_request_error"),
    "anthropic 404": _anthropic(404, "not_found_error"),
    "anthropic 403": _anthropic(403, "permission_error"),
    "gemini": lambda text: ("gemini", 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": text}}),
    "gemini 404": lambda text: ("gemini", 404, {"error": {"code": 404, "status": "NOT_FOUND", "message": text}}),
    "gemini details": lambda text: ("gemini", 400, {"error": {
        "code": 400, "status": "INVALID_ARGUMENT", "message": f"Invalid: {text}", "details": [
            {"@type": "BadRequest", "fieldViolations": [{"field": "contents[0].role", "description": text}]}]}}),
    "gemini array": lambda text: ("gemini", 400, [
        {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": text}}]),
    "unknown": lambda text: ("", 400, {"message": text}),
}  # fmt: skip

QUOTES: dict[str, Callable[[str], str]] = {
    "apostrophes": lambda text: f"Invalid value: '{text}'. Supported values are: 'system', and 'user'.",
    "marks": lambda text: f'"{text}" is not what we know',
    "backticks": lambda text: f"The value `{text}` is wrong.",
    "triple": lambda text: f"Unknown ```{text}``` here",
    "curly": lambda text: f"Unknown \u201c{text}\u201d, or \u2018{text}\u2019",
    "guillemets": lambda text: f"Unknown \u00ab{text}\u00bb and \u201e{text}\u201c",
    "brackets": lambda text: f"Unknown [{text}], ({text}), <{text}>, {{{text}}}",
    "repr": lambda text: f"Unexpected value {text!r} of {('it is ' + text)!r}",
    "json in json": lambda text: f"Unexpected {json.dumps(json.dumps(text))}",
    "html": lambda text: f"Unexpected &quot;{text}&quot;, &#39;{text}&#39;",
    "cut off": lambda text: f"Invalid value: '{text}, and so on\u2026",
    "cut off with dots": lambda text: f'Invalid value: "{text}...',
    "bare": lambda text: f"Unknown value: {text}",
    "bare alone": lambda text: text,
    "bare, more after it": lambda text: f"Unsupported {text} for model gpt-4",
    "rare marks": lambda text: f"Unknown \u275d{text}\u275e, \u301d{text}\u301f, \u3010{text}\u3011",
    "markup": lambda text: f"Unknown <code>{text}</code>, **{text}**, *{text}*, |{text}|",
    "behind a gateway": lambda text: f"BadRequestError: XException - {{'error': {{'message': \"No: '{text}'\"}}}}",
}

PLACES: dict[str, Callable[[str], tuple[dict[str, Any], str, dict[str, str]]]] = {
    "role": lambda text: ({"model": "m", "messages": [{"role": text, "content": "hi"}]}, "/v1/chat", {}),
    "model": lambda text: ({"model": text, "messages": []}, "/v1/chat", {}),
    "tool": lambda text: ({"model": "m", "tools": [{"type": "function", "function": {"name": text}}]}, "/v1/chat", {}),
    "metadata": lambda text: ({"model": "m", "metadata": {"k": text}}, "/v1/chat", {}),
    "member": lambda text: ({"model": "m", text: 1}, "/v1/chat", {}),
    "url": lambda text: ({"model": "m", "input": [{"image_url": f"https://x.test/{text}"}]}, "/v1/chat", {}),
    "inside": lambda text: ({"model": "m", "input": f"some words, {text}, more words"}, "/v1/chat", {}),
    "path": lambda text: ({"model": "m"}, f"/v1/files/{text.replace(' ', '%20')}?x=1", {}),
    "header": lambda text: ({"model": "m"}, "/v1/chat", {"x-tag": text}),
    "elsewhere": lambda text: ({"model": "m", "previous_response_id": "resp_1"}, "/v1/responses", {}),
}  # fmt: skip


def judged(shape: str, quote: str, place: str, text: str, encode: Callable[[Any], bytes]) -> Outcome:
    asked, path, headers = PLACES[place](text)
    family, status, told = SHAPES[shape](QUOTES[quote](text))
    body = Body(told if isinstance(told, bytes) else json.dumps(told).encode())
    sent = ClientText(encode(asked), path, Headers(headers.items()), str(asked["model"]))
    return outcome.classify(family, Head(status, Headers()), body, NOW, (), sent)


BARE = tuple(quote for quote in QUOTES if quote.startswith("bare"))
MARKED = tuple(quote for quote in QUOTES if quote not in BARE)
ASKED_AT = tuple(place for place in PLACES if place != "elsewhere")


def costs(found: Outcome) -> Outcome | None:
    """Return what follows for the account, None if nothing does."""
    return (
        None if found.kind in BLAMELESS or found.scope == "exchange" else Outcome(found.kind, found.until, found.scope)
    )


@cache
def harmless(shape: str, quote: str, place: str) -> Outcome | None:
    """Return what follows for the account where the client's words are ordinary ones."""
    return costs(judged(shape, quote, place, HARMLESS, plain))


def in_turn(number: int, longest: Sequence[Any], *others: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """
    Yield every entry of the *longest* table, each together with one entry of every other table.

    The other entries change from one to the next and with *number*: over many numbers all pairs of entries come up.
    """
    for at, entry in enumerate(longest):
        turn, row = number, [entry]
        for table in others:
            row.append(table[(at + turn) % len(table)])
            turn //= len(table)
        yield tuple(row)


@pytest.fixture(params=[pattern for pattern, texts in BY_PATTERN.items() if texts])
def phrases(
    request: pytest.FixtureRequest, share: Callable[[Sequence[str], int], Sequence[str]]
) -> list[tuple[int, str]]:
    """The phrases of one pattern, with their numbers among all phrases."""
    return [(PHRASES.index(text), text) for text in share(BY_PATTERN[request.param], 8)]


def plain(asked: Any) -> bytes:
    return json.dumps(asked).encode()


def escaped(asked: Any) -> bytes:
    """Write JSON as nobody does, but anybody may."""
    text = json.dumps(asked)
    return re.sub(r"(?<=[a-z])[a-z](?=[a-z ])", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def test_a_phrase_in_quotation_marks_costs_no_more_than_a_harmless_one(phrases: list[tuple[int, str]]) -> None:
    """R1: every phrase of every rule, in every error shape and all marks, also when it stood in an earlier request."""
    for number, phrase in phrases:
        for shape, quote in in_turn(number, tuple(SHAPES), MARKED):
            found = costs(judged(shape, quote, "elsewhere", phrase, plain))
            assert found is None or found == harmless(shape, quote, "elsewhere"), (phrase, shape, quote)


def test_a_phrase_of_the_request_costs_no_more_than_a_harmless_one(phrases: list[tuple[int, str]]) -> None:
    """R1: wherever the client put it, without any marks around it."""
    for number, phrase in phrases:
        for shape, place, quote in in_turn(number, tuple(SHAPES), ASKED_AT, BARE):
            found = costs(judged(shape, quote, place, phrase, plain))
            assert found is None or found == harmless(shape, quote, place), (phrase, shape, place, quote)


def test_neither_case_nor_blanks_nor_escapes_hide_a_phrase(phrases: list[tuple[int, str]]) -> None:
    """R1: the request is compared as what it says, not by its bytes."""
    for number, phrase in phrases:
        hidden = ((phrase, escaped), (phrase.upper(), plain), (phrase.replace(" ", "\t\n "), plain))
        for shape, (text, encode), place in in_turn(number, tuple(SHAPES), hidden, ("role", "inside")):
            found = costs(judged(shape, "bare", place, text, encode))
            assert found is None or found == harmless(shape, "bare", place), (phrase, shape, place, text)


def test_of_a_request_that_is_not_known_no_phrase_is_held_against_the_account(phrases: list[tuple[int, str]]) -> None:
    """R1: an upload that was streamed, or one too long to be searched."""
    unknown = (ClientText(None), ClientText(b"x" * (quoted_text.MAX_BODY + 1)))
    for number, phrase in phrases:
        for shape, sent in in_turn(number, tuple(SHAPES), unknown):

            def found(text: str, sent: ClientText = sent, shape: str = shape) -> Outcome | None:
                family, status, told = SHAPES[shape](text)
                body = Body(told if isinstance(told, bytes) else json.dumps(told).encode())
                return costs(outcome.classify(family, Head(status, Headers()), body, NOW, (), sent))

            assert found(phrase) in (None, found(HARMLESS)), (phrase, shape)


def test_a_phrase_is_quoted_inside_a_stream_too(phrases: list[tuple[int, str]]) -> None:
    """R1: an error event, of a stream or on a WebSocket."""
    families, codes = ("openai", "anthropic", "gemini", ""), ("invalid_value", "x", "400", "")
    for number, phrase in phrases:
        for quote, family, code in in_turn(number, tuple(QUOTES), families, codes):

            def found(text: str, family: str = family, quote: str = quote, code: str = code) -> Outcome | None:
                sent = ClientText(plain({"model": "m", "input": [{"role": text}]}), model="m")
                return costs(outcome.classify_error(family, code, QUOTES[quote](text), NOW, (), sent))

            assert found(phrase) in (None, found(HARMLESS)), (phrase, family, quote, code)


@each_row("code", CODES)
def test_a_code_that_is_the_clients_own_word_is_none(code: str) -> None:
    """R1: as a value that is quoted where a code stands, and in what the provider hands back of the request."""
    for key in ("code", "type", "reason", "status"):
        for inside in ("input", "ctx", "body", "received", "instance"):
            echoed = {
                "error": {"message": "wrong", inside: {key: code, "retry_after": 99}, "type": "invalid_request_error"}
            }
            found = outcome.classify("openai", Head(400, Headers()), Body(plain(echoed)), NOW)
            assert found.kind == "request", (key, inside)
        told = {"error": {"message": "wrong", "details": [{key: code}]}}
        sent = ClientText(plain({"model": "m", "messages": [{"role": code}]}))
        assert costs(outcome.classify("openai", Head(400, Headers()), Body(plain(told)), NOW, (), sent)) is None


def test_a_client_that_closes_the_quotation_itself_gains_nothing(phrases: list[tuple[int, str]]) -> None:
    """R1: the words stand outside of the marks then, but in the request."""
    pairs = ("''", '""', "``", "()", "[]", "{}", "<>", "\u201c\u201d", "\u00ab\u00bb")
    for number, phrase in phrases:
        for shape, (opening, mark) in in_turn(number, tuple(SHAPES), pairs):

            def found(text: str, shape: str = shape, opening: str = opening, mark: str = mark) -> Outcome | None:
                family, status, told = SHAPES[shape](f"Invalid value: {opening}{text}{mark}.")
                body = Body(told if isinstance(told, bytes) else plain(told))
                sent = ClientText(plain({"model": "m", "messages": [{"role": text}]}))
                return costs(outcome.classify(family, Head(status, Headers()), body, NOW, (), sent))

            assert found(f"x{mark} {phrase} {mark}") in (None, found(HARMLESS)), (phrase, mark, shape)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"role": "x does not exist"}, "Model gpt-4 got unsupported role x does not exist"),
        ({"tool_choice": {"name": "model"}}, "Tool choice model not found in tools"),
        ({"key": "api key"}, "Invalid api key in metadata"),
        ({"role": "credit balance"}, "Your role credit balance is too low"),
    ],
)
def test_a_phrase_that_is_only_in_part_the_clients_is_none(asked: dict[str, Any], message: str) -> None:
    """R1: a value of the request stands inside the sentence."""
    sent = ClientText(plain({"model": "gpt-4", **asked}), model="gpt-4")
    for family, status in product(("openai", "anthropic"), (400, 404)):
        body = Body(plain({"error": {"message": message}}))
        assert costs(outcome.classify(family, Head(status, Headers()), body, NOW, (), sent)) is None


def test_all_that_an_event_says_of_the_request_counts() -> None:
    """R1: its place and its type beside a code that nobody knows."""

    def kind(message: str, part: dict[str, Any]) -> str:
        return outcome.classify_error("openai", "x", message, NOW, (), quoted_text.NOTHING, part).kind

    assert kind("Invalid api key as a role", {"code": "x", "type": "invalid_value"}) == "request"
    assert (
        kind("Invalid api key as a role", {"code": "x", "type": "invalid_request_error", "param": "role"}) == "request"
    )
    assert kind("wrong", {"code": "x", "type": "invalid_request_error"}) == "request"
    assert kind("Invalid api key", {"code": "x", "type": "invalid_request_error"}) == "auth"


# --- what a provider says itself is understood as before


OWN = [
    ("anthropic", 400, "Your credit balance is too low to access the Anthropic API. Please go to Plans.", "quota"),
    ("openai", 400, "Incorrect API key provided: sk-x.", "auth"),
    ("openai", 404, "The model `m` does not exist or you do not have access to it.", "model"),
    ("openai", 404, 'model "m" not found, try pulling it first', "model"),
    ("openai", 404, "Model m does not exist", "model"),
    ("gemini", 404, "models/m is not found for API version v1beta", "model"),
    ("gemini", 400, "API key not valid. Please pass a valid API key.", "auth"),
    ("gemini", 400, "User location is not supported for the API use.", "permission"),
    ("openai", 403, "Your newly created team doesn't have any credits yet. It isn't active.", "quota"),
    ("openai", 429, "System is experiencing high demand", "overload"),
    ("openai", 403, "Key limit exceeded (monthly limit). Manage it in your settings", "quota"),
    ("openai", 412, "Account x is suspended, possibly due to reaching the monthly spending limit.", "quota"),
    ("openai", 404, "No endpoints found for a/b.", "model"),
    ("openai", 400, 'litellm.BadRequestError: AnthropicException - {"type":"error","error":{"message":"Your credit '
                    'balance is too low to access"}}. Received Model Group=m', "quota"),
    ("openai", 400, "VertexAIException BadRequestError - b'{\\n \"error\": {\\n \"message\": \"API key not valid.\"}}'",
     "auth"),
    ("openai", 400, "Error code: 400 - {'error': {'message': 'Your credit balance is too low'}}", "quota"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "status", "message", "kind"), OWN)
def test_a_providers_own_words_count_beside_an_ordinary_request(
    family: str, status: int, message: str, kind: str
) -> None:
    said = "The file was not found. Is an API needed? The model is wrong."
    tools = [{"enum": ["key", "model-x", "not", "found", "limit"]}]
    asked = {"model": "m", "reasoning_effort": "high", "tools": tools, "messages": [{"role": "user", "content": said}]}
    sent = ClientText(plain(asked), "/v1/chat/completions", Headers([("user-agent", "tool/1")]), "m")
    told = Body(plain({"error": {"type": "invalid_request_error", "message": message}}))
    found = outcome.classify(family, Head(status, Headers()), told, NOW, (), sent)
    assert (found.kind, found.scope != "exchange") == (kind, True)


def test_a_place_in_the_request_rules_out_all_phrases_but_those_about_it() -> None:
    """R1: `param: model` goes with a model that is not there, and with nothing else."""

    def found(message: str, param: str) -> str:
        told = Body(plain({"error": {"message": message, "param": param, "type": "invalid_request_error"}}))
        return outcome.classify("openai", Head(404, Headers()), told, NOW).kind

    assert found("The model `m` does not exist", "model") == "model"
    assert found("The model `m` does not exist", "tools") == "request"


WORDS = "invalid api key"
HIDDEN: dict[str, bytes] = {
    "HTML": plain({"role": "invalid&#32;api&nbsp;key"}),
    "a URL": plain({"image_url": "https://x.test/invalid%20api%2520key"}),
    "JSON in JSON": plain({"arguments": json.dumps({"role": "invalid\napi key"}).replace(" k", "\\u0020k")}),
    "JSON in JSON in JSON": plain({"arguments": json.dumps({"x": json.dumps({"role": "invalid\tapi\tkey"})})}),
    "UTF-16": json.dumps({"role": WORDS}).encode("utf-16"),
    "UTF-32": json.dumps({"role": WORDS}).encode("utf-32-le"),
    "width": plain({"role": "\uff49\uff4e\uff56\uff41\uff4c\uff49\uff44\u3000\uff41\uff50\uff49\u00a0key"}),
    "what is not seen": plain({"role": "in\u200bva\u00adlid a\u2060pi k\ufeffey"}),
    "what is seen as a blank": plain({"role": "invalid\u200bapi\u200bkey"}),
    "a URL in HTML": plain({"href": "%69nvalid%26%2332%3Bapi%20key"}),
    "the unseen in a URL": plain({"href": "in%E2%80%8Bvalid%20api%20k%C2%ADey"}),
    "accents": plain({"role": "\u00efnv\u00e0lid api k\u00e9y"}),
    "case": plain({"role": "\u0131nval\u0131d ap\u0131 key"}),
    "longer words": plain({"role": "do not invalid api keyring"}),
    "members": plain({"invalid": {"api": "key"}}),
    "the name of a file": b"--b\r\nContent-Disposition: form-data; filename*=UTF-8''invalid%20api%20key\r\n\r\n",
    "a line of a file": b'--b\r\n\r\n{"role": "user"}\n{"role": "invalid api key"}\r\n--b--',
}  # fmt: skip


@pytest.mark.parametrize("hidden", HIDDEN)
def test_words_are_found_however_the_client_wrote_them(hidden: str) -> None:
    """R1: the provider undid what hides them before it quoted them."""
    said = "invalid api keyring" if hidden == "longer words" else WORDS
    sent = ClientText(HIDDEN[hidden], "/v1/chat", None, "m")
    for family, status in product(("openai", "anthropic", ""), (400, 403, 500)):
        told = Body(plain({"error": {"message": f"Unknown role {said}, sorry"}}))
        found = outcome.classify(family, Head(status, Headers()), told, NOW, (), sent)
        assert found.scope != "account", (family, status)


@pytest.mark.parametrize(
    ("raw", "path", "headers"),
    [
        (b'{"x": "billing%5Fnot_active"}', "", {}),
        (b'{"x": "billing&#95;not_active"}', "", {}),
        (b'{"billing_not_active": 1}', "", {}),
        (b"purpose=billing_not_active", "", {}),
        (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbilling_not_active\r\n--b--', "", {}),
        (b"{}", "/v1/files/billing%255Fnot_active", {}),
        (b"{}", "/v1/x?a=b&c=billing_not_active", {}),
        (b"{}", "", {"openai-beta": "a=b, billing_not_active"}),
    ],
)
def test_a_code_is_the_clients_wherever_it_stands_alone(raw: bytes, path: str, headers: dict[str, str]) -> None:
    """R1: as a value or a name of the body, the path, the query or a header."""
    told = Body(plain({"error": {"message": "wrong", "code": "billing_not_active"}}))
    sent = ClientText(raw, path, Headers(headers.items()))
    assert costs(outcome.classify("openai", Head(400, Headers()), told, NOW, (), sent)) is None


def test_a_member_that_the_client_wrote_says_nothing_when_it_is_handed_back() -> None:
    """R1: times, statuses and quotas among the metadata of the request."""
    metadata = {"retry_after": 2_000_000, "headers": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2000000"}}
    for echoed in (metadata, {"headers": metadata["headers"]}):
        sent = ClientText(plain({"metadata": echoed}))
        told = Body(plain({"error": {"message": "slow", "metadata": echoed}}))
        assert outcome.classify("openai", Head(429, Headers()), told, NOW, (), sent).until is None
        assert outcome.classify("openai", Head(429, Headers()), told, NOW).until == NOW + 2_000_000
    for code in (401, "402"):
        part = {"message": "bad", "code": "bad", "metadata": {"code": code}}
        sent = ClientText(plain({"metadata": {"code": code}}))
        found = outcome.classify_error("openai", "bad", "bad", NOW, (), sent, part)
        assert found.scope != "account", code
        assert outcome.classify_error("openai", "bad", "bad", NOW, (), quoted_text.NOTHING, part).scope == "account"
    told = Body(plain({"error": {"message": "bad", "details": [{"quotaId": "RequestsPerDay"}]}}))
    sent = ClientText(plain({"metadata": {"quotaId": "RequestsPerDay"}}))
    assert costs(outcome.classify("gemini", Head(400, Headers()), told, NOW, (), sent)) is None


@pytest.mark.parametrize(
    ("status", "error", "asked"),
    [
        (400, {"message": "The model 'x9' does not exist", "param": "tools[0].model", "code": "model_not_found"}, {}),
        (400, {"message": "The model 'x9' does not exist", "code": "model_not_found"}, {"tools": [{"model": "x9"}]}),
        (404, {"message": "The model 'x9' does not exist"}, {"fallbacks": ["x9"]}),
        (400, {"message": "a/b is not a valid model ID", "code": 400}, {"models": ["m", "a/b"]}),
        (404, {"message": "No endpoints found that support image input", "code": 404}, {}),
        (404, {"message": "No endpoints found that can handle the requested parameters.", "code": 404}, {}),
        (404, {"message": "Model m failed: cannot open x.png, file does not exist"},
         {"content": "it says: cannot open x.png, file does not exist, but why?"}),
    ],
)  # fmt: skip
def test_what_is_said_of_something_else_costs_the_model_nothing(
    status: int, error: dict[str, Any], asked: dict[str, Any]
) -> None:
    """R1: of another model, of what no model here can do, of a file: the lane of the request's own stays."""
    sent = ClientText(plain({"model": "m", **asked}), model="m")
    told = Body(plain({"error": {"type": "invalid_request_error", **error}}))
    assert costs(outcome.classify("openai", Head(status, Headers()), told, NOW, (), sent)) is None


@pytest.mark.parametrize(("code", "text"), [("", "Unknown role: credits, sorry"), ("discredited", "wrong")])
def test_a_users_rule_is_not_met_by_a_part_of_the_clients_word(code: str, text: str) -> None:
    """R1: what the rule asks for need not be a whole word."""
    rules = (ErrorRule(contains="credit", outcome="quota", cooldown=3600.0),)
    told = Body(plain({"error": {"message": text, "code": code}}))
    sent = ClientText(plain({"messages": [{"role": code or "credits"}]}))
    assert costs(outcome.classify("openai", Head(400, Headers()), told, NOW, rules, sent)) is None


LOG = (
    'My log says: {"error": {"code": "invalid_api_key", "type": "insufficient_quota"}}, "Incorrect API key provided", '
    "insufficient_quota, your credit balance is too low, this organization has been disabled, model m not found"
)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"message": "Incorrect API key provided: sk-x.", "code": "invalid_api_key"}, "auth"),
        (401, {"message": "Incorrect API key provided"}, "auth"),
        (401, {}, "auth"),
        (400, {"message": "Incorrect API key provided", "code": "invalid_api_key"}, "auth"),
        (402, {"message": "Your credit balance is too low"}, "quota"),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "quota"),
        (403, {"message": "no", "code": "organization_restricted"}, "auth"),
        (404, {"message": "The model `m` does not exist", "code": "model_not_found"}, "model"),
    ],
)
def test_codes_and_statuses_are_believed_beside_a_conversation_about_them(
    status: int, error: dict[str, Any], kind: str
) -> None:
    """R1: a coding agent looks at a log with the same words; only those that nothing else bears out are doubted."""
    sent = ClientText(plain({"model": "m", "messages": [{"role": "user", "content": LOG}]}), model="m")
    found = outcome.classify("openai", Head(status, Headers()), Body(plain({"error": error})), NOW, (), sent)
    assert (found.kind, found.scope != "exchange", found.certain) == (kind, True, True)
    told = Body(plain({"error": {"message": "This organization has been disabled."}}))
    found = outcome.classify("anthropic", Head(400, Headers()), told, NOW, (), sent)
    assert (found.kind, found.scope, found.certain) == ("auth", "exchange", False)


def test_what_may_be_the_clients_moves_the_request_and_says_so() -> None:
    found = judged("openai type", "bare", "role", "invalid api key", plain)
    assert found == Outcome("auth", None, "exchange", "400 in the request's own words")


def test_a_time_that_a_client_writes_is_none() -> None:
    """R1: `try again in 30 days` as a role."""
    words = "try again in 30 days"
    for message in (f"Too many: '{words}'", f"Too many: {words}"):
        told = Body(plain({"error": {"message": message}}))
        sent = ClientText(plain({"model": "m", "role": words}))
        assert outcome.classify("openai", Head(429, Headers()), told, NOW, (), sent).until is None
    assert stated_limits.in_text("try again in 30 days", NOW, ClientText(plain({"model": "m"}))) == NOW + 30 * 86400


def test_a_users_rule_is_not_met_by_the_client_either() -> None:
    """R1: what the rule asks for counts in quotation marks too, but not if the request holds it."""
    rules = (ErrorRule(contains="balance used up", outcome="quota", cooldown=3600.0),)
    told = Body(plain({"error": {"message": "Sorry: 'balance used up'"}}))

    def found(content: str) -> Outcome:
        return outcome.classify(
            "openai", Head(400, Headers()), told, NOW, rules, ClientText(plain({"content": content}))
        )

    assert found("hello") == Outcome("quota", NOW + 3600, "account", "400 by your rule")
    assert costs(found("balance used up")) is None


# --- the reader of marks and the reader of requests


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("it's the user's, isn't it", "it's the user's, isn't it"),
        ("'a' own 'b'", "'' own ''"),
        ("«a» own „b“ own “c” own", "«» own „“ own “” own"),
        (r"\"a\" own", r"\" own"),
        ("own 'a\\' b' own", "own '' own"),
        ("own: 'a b", "own: 'b"),
        ("", ""),
    ],
)
def test_what_stands_between_marks_is_blanked(message: str, kept: str) -> None:
    assert own_words(message).replace("\0", "") == kept
    assert len(own_words(message)) == len(message)


@given(st.text(alphabet="ab '\"`\\()[]{}<>“”„«»:=…", max_size=60))
def test_blanking_keeps_the_length_of_any_text(message: str) -> None:
    assert len(own_words(message)) == len(message)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_no_request_makes_it_raise(raw: bytes, message: str) -> None:
    sent = ClientText(raw, message, Headers([(message, message)]), message)
    assert sent.hold(message, 0, len(message)) in (True, False)
    assert sent.hold_code(message) in (True, False)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters='"'), min_size=1, max_size=40))
def test_every_value_of_a_request_is_found_in_it(value: str) -> None:
    for sent in (ClientText(plain({"a": [value]})), ClientText(b"", f"/x/{value.replace('%', '')}"),
                 ClientText(json.dumps({"a": value}, ensure_ascii=False).encode("utf-8", "replace"))):  # fmt: skip
        text = value if sent._raw else value.replace("%", "")
        words = re.findall("[0-9A-Za-z\x80-\U0010ffff]+", text)
        assert not words or "+" in text or sent.hold(text.lower(), 0, len(text.lower())), text


# --- each fact of the search by itself


def holds(asked: Any, part: str, before: str = "Bad ", after: str = " here", **more: Any) -> bool:
    """Whether a request *asked* holds the *part* of a message, with words of the provider around it."""
    message = f"{before}{part}{after}"
    sent = ClientText(asked if isinstance(asked, bytes) else plain(asked), model="m")
    return sent.hold(message, len(before), len(before) + len(part), **more)


@pytest.mark.parametrize(
    "pair",
    (
        *("“” „“ „” ”” ‘’ ‚‘ «» »« ‹› ›‹ 「」 『』 〈〉 《》 ❝❞ ❛❜".split()),
        *("〝〞 〝〟 ⟨⟩ ⟪⟫ 【】 〔〕 （） ［］ ｢｣ () [] {} <>".split()),
    ),
)
def test_every_pair_of_marks_is_a_quotation(pair: str) -> None:
    assert own_words(f"no {pair[0]}a b{pair[1]} c").replace("\0", "") == f"no {pair[0]}{pair[1]} c"


def test_a_request_is_known_up_to_a_mebibyte_and_an_unknown_one_may_hold_any_sentence_and_no_code() -> None:
    assert ClientText(b"x" * 1048576).is_known
    for sent in (ClientText(None), ClientText(b'{"code": "bad", "a": "' + b"x" * 1048576)):
        assert not sent.is_known
        assert sent.hold("bad", 0, 3) and sent.hold_other_name("'no'") and sent.hold_end("so bad", 3, 6)
        assert not sent.hold_code("bad") and not sent.hold_member("code", "bad")


@pytest.mark.parametrize("escape", [r"\\", r"\"", r"\n", r"\r", r"\t", r"\b", r"\f", r"\u0022", r"\u0001", r"\/", " "])
def test_each_escape_of_json_between_words_is_a_blank(escape: str) -> None:
    assert holds(b'{"x": "so invalid%bapi key is"}' % escape.encode(), "invalid api", names_model=True)


def test_each_punctuation_mark_is_a_blank_and_each_letter_the_same_in_either_case() -> None:
    for code in range(32, 127):
        mark = chr(code)
        asked = {"x": f"so invalid{mark}api key"}
        assert holds(asked, "invalid api") is not mark.isalnum(), mark
        assert holds(asked, f"invalid{mark.swapcase()}api"), mark
    assert not holds({"x": "一x key"}, "一 x") and holds({"x": "一x key"}, "一x")


def nested(levels: int, escape: Callable[[str], str], blank: str) -> str:
    for _ in range(levels - 1):
        blank = escape(blank)
    return f"so invalid{blank}api key"


@pytest.mark.parametrize(
    ("escape", "blank", "most"),
    [
        (lambda text: text.replace("%", "%25"), "%20", 6),
        (lambda text: text.replace("&", "&#38;"), "&#32;", 3),
        (lambda text: text.replace("&", "&amp;"), "&#x20;", 2),
        (lambda text: text.replace("\\", "%5C"), "\\u0020", 2),
    ],
)
def test_nested_escapes_are_undone_in_three_rounds(escape: Callable[[str], str], blank: str, most: int) -> None:
    for levels in range(1, most + 1):
        assert holds({"x": nested(levels, escape, blank)}, "invalid api"), levels
    if "\\" not in blank:
        assert not holds({"x": nested(most + 1, escape, blank)}, "invalid api")


def test_text_in_utf_16_is_read_though_its_first_characters_are_of_another_script() -> None:
    assert holds("中文a invalid api key".encode("utf-16"), "invalid api")


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("kitten api", True),  # begins before the part, ends in it
        ("kitten api key soup", True),
        ("keys soup", True),  # a word that the part holds half of
        ("big kitten", False),  # ends where the part begins
        ("soup today", False),  # begins where the part ends
        ("api", False),  # a single word is in requests by chance
        ("key", False),
    ],
)
def test_a_value_counts_when_its_words_overlap_the_part(value: str, held: bool) -> None:
    said = "A big kitten api keys soup today"
    start = said.index("api")
    for end in (said.index("s soup"), said.index("soup")) if value != "kitten api key soup" else ():
        assert ClientText(plain({"x": value})).hold(said, start - 1, end) is held, end


@pytest.mark.parametrize(("word", "held"), [("model", True), ("models", True), ("mode", False)])
def test_of_single_words_only_the_model_counts(word: str, held: bool) -> None:
    assert holds({"x": word}, f"big {word} soup") is held


@pytest.mark.parametrize(("count", "held"), [(2, True), (16, True), (17, False)])
def test_a_value_inside_a_sentence_has_sixteen_words_at_most(count: int, held: bool) -> None:
    words = " ".join(f"w{number}" for number in range(count))
    assert holds({"x": words}, f"big {words} soup") is held


def test_a_value_has_two_hundred_bytes_at_most_with_a_blank_on_either_side() -> None:
    assert ClientText(plain({"x": "a" * 198})).hold_code("a" * 198)
    assert not ClientText(plain({"x": "a" * 199})).hold_code("a" * 199)


def test_a_part_without_a_word_is_held_by_no_request() -> None:
    assert not holds({"x": "..."}, "...", before="", after="")


def test_a_part_is_compared_as_it_is_and_with_its_words_completed() -> None:
    assert holds({"x": "so api key is"}, "api key", after="ring.")
    assert holds({"x": "so an api keyring is"}, "pi key", before="the a", after="ring")
    assert holds({"x": "so an api keyring is"}, "pi key", before="a", after="ring")
    assert not holds({"x": "so an api keyring is"}, "pi key", before="the a", after="rings")
    assert not holds({"x": "so a keyring is"}, "pi key", before="the a", after="ring")


def test_where_the_message_names_the_model_anyway_the_models_name_and_paths_of_members_do_not_count() -> None:
    sent = ClientText(plain({"model": "big cat", "x": "old dog", "invalid": {"api": "key"}}), model="big cat")

    def found(message: str, names_model: bool) -> bool:
        return sent.hold(message, 0, len(message), names_model=names_model)

    assert found("no big cat here", False) and not found("no big cat here", True)
    assert found("no old dog here", False) and found("no old dog here", True)
    assert found("invalid api key", False) and not found("invalid api key", True)
    assert found("no 'old dog'", True) and not found("no 'new dog'", True)


@pytest.mark.parametrize(
    ("message", "held"),
    [("no 'dog'", True), ("no `dog`", True), ('no "dog"', True), ("no dog", False), ("no 'cow'", False),
     ("'dog' is no 'm'", False), ("no '...'", False)],
)  # fmt: skip
def test_another_name_is_a_quoted_value_beside_which_the_model_is_not_named(message: str, held: bool) -> None:
    assert ClientText(plain({"model": "m", "x": "dog"}), model="m").hold_other_name(message) is held


@pytest.mark.parametrize(
    ("before", "held"),
    [("is ", True), ("is, ", True), ("he is ", True), ("was ", False), ("", False), ("is. ", False), ("is", False)],
)
def test_the_end_of_a_fragment_is_the_clients_with_the_word_before_it(before: str, held: bool) -> None:
    message = before + "api key"
    sent = ClientText(plain({"x": "here is api key or not"}))
    assert sent.hold_end(message, len(before), len(message)) is held


@pytest.mark.parametrize(("length", "held"), [(79, True), (80, False)])
def test_the_word_before_a_fragment_has_less_than_eighty_characters(length: int, held: bool) -> None:
    word = "w" * length
    sent = ClientText(plain({"x": f"is {word} api key"}))
    assert sent.hold_end(f"on {word} api key", 3 + length + 1, 3 + length + 8) is held


@pytest.mark.parametrize(
    ("raw", "code", "held"),
    [
        (b'{"x": "bad_one"}', "bad_one", True),
        (b'{"bad_one": 1}', "bad_one", True),
        (b'{"x": "a bad_one"}', "bad_one", False),
        (b'{"x": "\\u0062ad_one"}', "bad_one", True),
        ('{"x": "bad_one"}'.encode("utf-16"), "bad_one", True),
        (b'{"x": "BAD-ONE"}', "bad_one", True),
        (b'{"code": 401}', "401", True),
        (b'{"code": "401"}', "401", True),
        (b'{"status": 401}', "401", True),
        (b'{"number": 401}', "401", False),
        (b'{"code": 4010}', "401", False),
        (b'{"code": true}', "true", False),
        (b'{"x": "a=bad_one&b"}', "bad_one", False),
        (b'  ["a=bad_one&b"]', "bad_one", False),
        (b"a=bad_one&b=2", "bad_one", True),
        (b"a=1\r\nbad_one\nb=2", "bad_one", True),
        (b"a=bad%20one", "bad_one", True),
    ],
)
def test_a_code_is_a_whole_value_or_the_name_of_a_member(raw: bytes, code: str, held: bool) -> None:
    assert ClientText(raw).hold_code(code) is held


@pytest.mark.parametrize("path", ["/x/bad%26one", "/x?bad%26one", "/x?a=bad%2526one&b", "/x/bad+one", "/bad_one/y"])
def test_a_part_of_the_path_is_a_value_as_it_is_and_without_its_escapes(path: str) -> None:
    assert ClientText(b"{}", path).hold_code("bad_one")


@pytest.mark.parametrize("value", ["bad_one", "a, bad_one", "a; bad_one", "q=bad_one", "bad%20one", "BAD_ONE"])
def test_a_headers_value_and_each_part_of_it_is_a_value(value: str) -> None:
    sent = ClientText(b"{}", "", Headers([("x-tag", value)]))
    assert sent.hold_code("bad_one") and not sent.hold_code("worse")
    assert sent.hold(f"no x-tag: {value} here", 3, 3 + len(f"x-tag: {value}"))


def test_the_whole_path_and_a_header_with_its_name_are_text_and_a_header_s_value_counts_as_it_is() -> None:
    sent = ClientText(b"{}", "/v1/files/abc", Headers([("x-tag", "a, bad%5Fone")]))

    assert sent.hold_end("v1 files", 3, 8) and not sent.hold_end("no files", 3, 8)
    assert sent.hold_end("tag a", 4, 5) and not sent.hold_end("tags a", 5, 6)
    assert sent.hold_code("a, bad%5fone") and sent.hold_code("a, bad_one")


def test_a_member_is_held_with_its_value_and_no_other() -> None:
    sent = ClientText(plain({"Retry": 5, "kind": "slow one", "x": "fast"}))
    assert sent.hold_member("retry", "5") and sent.hold_member("Kind", "slow one")
    assert (
        not sent.hold_member("retry", "6") and not sent.hold_member("kind", "5") and not sent.hold_member("y", "fast")
    )
