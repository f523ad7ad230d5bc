"""
The places of credentials in a body: members of JSON, fields of a form, and values in the format of a key.

A body of a model's request or answer is a conversation, in which words such as `token` and `key` mean anything: only
the members that carry a credential of a tool's server (MCP) count there, and only where they are members themselves;
and those of the body itself (`api_key`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from . import json_splice, secret_patterns
from .body import Body
from .values import header_names

SHORTEST = 6  # characters of a value that may be a credential

Span = tuple[int, int]

# A member `"name": "value"`, in a text of JSON (`\"name\"`) as well. A value ends where it holds a blank, for no
# credential does, or is cut off.
_VALUE = rb"((?:(?:Bearer|Basic|Token) )?(?:[^\"\\\s]|\\[/u])++)(?=\\*\"|\Z)"
_MEMBER = re.compile(rb"\"([A-Za-z][\w.\-]{1,63})\\*\"\s{0,20}:\s{0,20}\\*\"" + _VALUE, re.IGNORECASE)
_FIELD = re.compile(rb"(?:^|[&?;])([A-Za-z][\w.\-]{0,63})=([^&\s\"'<>]++)")
_PART = re.compile(rb"name=\"?([\w.\-]{2,64})\"?\r\n(?:[\w\-]{1,64}:[^\r\n]{0,200}\r\n){0,4}\r\n([^\r\n]++)")
_PASSWORD_OF_URL = re.compile(rb"://[^/\s@:\"]{0,256}:([^/\s@\"]{1,256})@")
_RUN_OF_KEY = re.compile(rb"[A-Za-z0-9_\-.+/=~%]{20,}")
_TEXT = re.compile(rb"\"" + _VALUE + rb"\"")
_TOOLS = ("tools", "mcp_servers")
_OF_TOOLS = frozenset((*header_names.CREDENTIALS, "authorization_token", "proxy-authorization", "cookie"))
_ADDRESS_OF_A_TOOL = re.compile(rb"\"(?:server_)?url\"\s{0,20}:\s{0,20}\"https?:[^\"\\?]{0,2000}\?([^\"\\]{1,4000})\"")
_OF_A_TOOL = re.compile(
    rb"\"(" + b"|".join(re.escape(name.encode()) for name in sorted(_OF_TOOLS)) + rb")\"\s{0,20}:\s{0,20}\"" + _VALUE,
    re.IGNORECASE,
)
# Of OAuth (RFC 6749, 7523, 7636, 8628), and of the logins of coding tools: names in which no word means a credential.
_LOGIN = frozenset(
    "code_verifier device_code user_code assertion client_assertion subject_token actor_token raw_key"
    " verification_uri_complete".split()
)
_CODE = "code"  # of an error too; a credential where the body is that of an OAuth client
_OAUTH = re.compile(rb"grant_type|code_verifier|redirect_uri")
_ADDRESS = re.compile(rb"https?:(?:\\?/){2}[^?]*\Z")


def in_conversation(body: bytes) -> Iterator[Span]:
    """Yield the places of credentials in *body*, of a model's request or answer, as far as its members tell."""
    yield from (found.span(2) for found in _OF_A_TOOL.finditer(body) if _is_long(found))
    for address in _ADDRESS_OF_A_TOOL.finditer(body):
        fields = _FIELD.finditer(body, address.start(1) - 1, address.end(1))
        yield from (found.span(2) for found in fields if _is_credential(found, oauth=False))
    yield from _of_members(body)


def _of_members(raw: bytes) -> Iterator[Span]:
    """Yield the places of credentials in members of the body itself, and in what leads to a tool's server."""
    body = Body(raw)
    named = [name for name in body.names() if name.lower() not in _OF_TOOLS and secret_patterns.names_key(name)]
    yield from (place for name in named if (span := body.span(name)) and (place := _text_in(raw, *span)))
    for name in _TOOLS:
        if (span := body.span(name)) and (raw.find(b'"headers"', *span) >= 0 or _PASSWORD_OF_URL.search(raw, *span)):
            for tool in json_splice.items(raw, span[0]):
                yield from _of_server(raw, tool.value)


def _of_server(raw: bytes, tool: int) -> Iterator[Span]:
    for member in json_splice.members(raw, tool):
        if member.name in ("url", "server_url"):
            yield from (found.span(1) for found in _PASSWORD_OF_URL.finditer(raw, member.value, member.end))
        elif member.name == "headers":
            for header in json_splice.members(raw, member.value):
                if header.name.lower() in _OF_TOOLS:
                    continue
                place = _text_in(raw, header.value, header.end)
                value = raw[slice(*place)].decode("latin-1") if place else ""
                if place and (secret_patterns.names_key(header.name) or secret_patterns.may_be_key(value)):
                    yield place


def _text_in(raw: bytes, start: int, end: int) -> Span | None:
    """Return where in *raw* the text of the JSON value from *start* to *end* stands, if that may be a credential."""
    value = raw[start:end]
    begin = start + len(value) - len(value.lstrip())
    found = _TEXT.fullmatch(value.strip())
    return (begin + 1, begin + 1 + len(found[1])) if found and len(found[1]) >= SHORTEST else None


def anywhere(body: bytes) -> Iterator[Span]:
    """Yield the places of credentials in *body*, by the names of members and fields, and by the format of a key."""
    oauth = _OAUTH.search(body) is not None
    for pattern in (_MEMBER, _FIELD, _PART):
        yield from (found.span(2) for found in pattern.finditer(body) if _is_credential(found, oauth=oauth))
    yield from (found.span(1) for found in _PASSWORD_OF_URL.finditer(body))
    for run in _RUN_OF_KEY.finditer(body):
        if secret_patterns.is_key(run[0].decode("latin-1")):
            yield run.span()


def covered(body: bytes, places: Iterator[Span], cover: Callable[[int], bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """Return *body* with `cover(length)` at *places*, and what stood there; *body* itself where there are none."""
    out: bytearray | None = None
    values = []
    for start, end in places:
        out = bytearray(body) if out is None else out
        values.append(body[start:end])
        out[start:end] = cover(end - start)
    return (body, ()) if out is None else (bytes(out), tuple(values))


def _is_long(found: re.Match[bytes]) -> bool:
    return len(found[2]) >= SHORTEST


def _is_credential(found: re.Match[bytes], *, oauth: bool) -> bool:
    name, value = found[1].decode("latin-1"), found[2]
    if len(value) < SHORTEST or _ADDRESS.match(value):
        return False
    if name.lower() in _LOGIN or (oauth and name == _CODE):
        return True
    if name.lower() in ("key", "keys"):  # of anything
        return secret_patterns.may_be_key(value.decode("latin-1"))
    return secret_patterns.names_key(name)
