"""
Parts of a request that belong to one account, left out when another account gets it.

Ids and tokens stand in the fields that its dialect lists; sealed reasoning and signatures go once they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from . import dialects, json_splice
from .body import Body
from .dialects import DIALECTS
from .dialects.dialect import BoundField, Keeps
from .json_splice import Splice
from .values.http import Request

_MEMBERS = frozenset(
    field.member.partition(".")[0] for dialect in DIALECTS for field in dialect.bound_fields if field.member
)
_FIELDS = frozenset(field.header for dialect in DIALECTS for field in dialect.bound_fields if field.header)

# How providers refuse the sealed content of another account.
_REFUSED = re.compile(
    r"invalid_encrypted_content|encrypted.content.{0,200}(could not|cannot|can't|failed to) be (verified|decrypted)"
    r"|(invalid|verif\w+|match).{0,40}signature.{0,40}(thinking|reasoning)"
    r"|(thinking|thought).{0,40}signature.{0,80}(invalid|not valid|corrupt\w*|mismatch|verif\w+|match|expired)"
    r"|(invalid|corrupt\w*|mismatched|expired).{0,20}thought.?signature"
    r"|organization_binding_mismatch",
    re.IGNORECASE | re.DOTALL,
)
_MISSES_THINKING = re.compile(r"expected .{0,3}thinking.{0,80}but found", re.IGNORECASE | re.DOTALL)


def bound_fields(request: Request) -> Iterator[tuple[BoundField, str]]:
    """Yield the fields of *request* that belong to one account, with their values."""
    body = request.body
    holds = body.holds_any(_MEMBERS)
    if not holds and _FIELDS.isdisjoint(request.headers.names()):
        return
    for field in dialects.of(request.endpoint.dialect).bound_fields:
        if field.header:
            yield from ((field, value) for value in request.headers.all(field.header))
        elif holds and (value := _value(body, field.member)):
            yield field, value


def without(body: Body, fields: Iterable[BoundField]) -> bytes:
    """Return the bytes of *body* without the members of *fields*."""
    raw = body.raw or b""
    for field in fields:
        outer, _, inner = field.member.partition(".")
        at = raw.find(b"{", 0, 64)
        raw = json_splice.edited(raw, _taken_out(raw, at, outer, inner, field.instead)) if at >= 0 and outer else raw
    return raw


def is_refused(said: str) -> bool:
    """Whether an error whose message is *said* is about content that another account sealed or signed."""
    return _REFUSED.search(said) is not None


def wants_thinking(said: str) -> bool:
    """Whether an error whose message is *said* misses thinking that was left out (Anthropic)."""
    return _MISSES_THINKING.search(said) is not None


def unsealed(body: Body, keeps: Keeps) -> bytes:
    """
    Return the bytes of *body* without sealed reasoning and signed thinking, but for those that the account *keeps*.

    Thinking is switched off where the request would be refused without its signatures; no other byte changes.
    """
    for dialect in DIALECTS:  # gateways take the blocks of one dialect in requests of another
        raw = dialect.without_sealed(body, keeps)
        body = body if raw is body.raw else Body(raw)
    return body.raw or b""


def _value(body: Body, name: str) -> str:
    outer, _, inner = name.partition(".")
    value = body.get(outer)
    if inner:
        value = value.get(inner) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("token")
    return value if isinstance(value, str) else ""


def _taken_out(raw: bytes, at: int, outer: str, inner: str, instead: bytes) -> Iterator[Splice]:
    parts = json_splice.members(raw, at)
    for place, part in enumerate(parts):
        if part.name != outer:
            continue
        if inner:
            yield from _taken_out(raw, part.value, inner, "", instead)
        elif instead:
            yield part.value, part.end, instead
        else:
            yield from json_splice.removed(parts, {place})
