"""
Request ids: minted so that they are known again, stamped where a provider looks, told apart when something comes back.

An id is `pb1-` and 48 characters: 12 random bytes, the time sealed with them, and a 96-bit tag over both. Without the
key it is noise: nobody can link two of them, or make one that we would take for ours. Where a provider wants a GUID,
the id has a second form: its time and two bytes of a digest, sealed under the 58-bit tag that fills the rest.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from blake3 import blake3

from .body import Body
from .ledger import Entry, Ledger
from .values.account import Provider
from .values.http import Headers

PREFIX = "pb1-"
NAMESPACE_HEADER = "X-Patchbay-Request-Id"
ReturnedKind = Literal["mine", "earlier", "own", "another", "ours", "mangled", "foreign", "blank"]

_RANDOM, _TIME, _TAG = 12, 6, 12  # bytes
_GUID_BYTES = 8  # of a GUID that are sealed; its tag has what is left of 122 bits
_LENGTH = 52  # characters; never 36, since some proxies rewrite what looks like a UUID
_RFC4648, _CROCKFORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
_TO_CROCKFORD = bytes.maketrans(_RFC4648, _CROCKFORD)
_FROM_CROCKFORD = bytes.maketrans(_CROCKFORD, _RFC4648)
_ID = re.compile(r"pb1-[0-9a-hjkmnp-tv-z]{48}(?![0-9a-z])")
_ENGINE_PREFIXES = ("chatcmpl-", "cmpl-", "resp_", "resp-", "msg_", "embd-")
_CUT = 20  # characters of an id that must be left of it to be taken for that id, cut off
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FIELD = re.compile(r"\{(\w+)\}")
_BLANK = frozenset({"", "-", "null", "none", "undefined", "unknown", "0"})
_OWN_HEADERS = (
    "x-request-id", "x-client-request-id", "x-correlation-id", "request-id", "x-ms-client-request-id",
    "x-litellm-call-id", "idempotency-key", "x-trace-id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Returned:
    """What a value that came back is. *entry* says to whom the id belongs, for `another`; *value* is the bare id."""

    kind: ReturnedKind
    value: str = ""
    entry: Entry | None = None


class Mint:
    """Makes request ids under a 32-byte secret *key*, and knows them again with that key alone."""

    def __init__(self, key: bytes) -> None:
        self._tag_key = _purpose(key, "tag")
        self._seal_key = _purpose(key, "seal")
        self._guid_tag_key = _purpose(key, "guid tag")
        self._guid_seal_key = _purpose(key, "guid seal")

    def new(self, now: float, random_bytes: Callable[[int], bytes]) -> str:
        """Return a fresh id of the time *now* (the clock's seconds)."""
        noise = random_bytes(_RANDOM)
        clock = (max(0, int(now * 1000)) % (1 << 8 * _TIME)).to_bytes(_TIME)
        visible = noise + self._sealed(noise, clock)
        text = base64.b32encode(visible + self._tag(visible)).translate(_TO_CROCKFORD)
        return PREFIX + text.decode()

    def guid(self, request_id: str) -> str:
        """Return *request_id* in the form of a GUID (version 8), always the same one."""
        clock = int((self.time_of(request_id) or 0.0) * 1000).to_bytes(_TIME)
        plain = clock + blake3(request_id.encode(), key=self._guid_tag_key).digest(_GUID_BYTES - _TIME)
        tag = self._guid_tag(plain)
        bits = tag << 64 | int.from_bytes(plain) ^ self._guid_pad(tag)
        whole = bits >> 74 << 80 | 8 << 76 | (bits >> 62 & 0xFFF) << 64 | 2 << 62 | bits & (1 << 62) - 1
        text = f"{whole:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def recognise(self, value: str) -> str:
        """Return the id of ours that *value* is, bare and in lower case, or the empty string."""
        text = _bare(value)
        if len(text) == 36 and _UUID.fullmatch(text):
            return text[:14] + "8" + text[15:] if self._guid_opened(text) is not None else ""
        found = _ID.match(text)
        return found[0] if found and self._opened(found[0]) is not None else ""

    def time_of(self, request_id: str) -> float | None:
        """Return when an id of ours was made, or None when it is not ours. Both forms know it."""
        if _UUID.fullmatch(request_id):
            return self._guid_opened(request_id)
        found = _ID.fullmatch(request_id)
        return self._opened(request_id) if found else None

    def classify(
        self,
        value: str,
        *,
        mine: str,
        sent: frozenset[str] = frozenset(),
        earlier: tuple[str, ...] = (),
        exchange: str = "",
        ledger: Ledger,
        now: float,
    ) -> Returned:
        """
        Say what *value*, which an answer brought, is to the attempt that sent *mine*.

        *sent* are ids of the client that went up with it, *earlier* the ids of this exchange's attempts before.
        """
        text = value.strip()
        if text.lower() in _BLANK:
            return Returned("blank")
        if _same(text, mine) or (_UUID.fullmatch(text.lower()) and _same(text, self.guid(mine))):
            return Returned("mine", mine)
        if mine.startswith(PREFIX) and mine in text.lower() and set(_ID.findall(text.lower())) <= {mine}:
            return Returned("mine", mine)  # in quotes, in a list, behind what a gateway puts before it
        if found := next((own for own in sent if _same(text, own)), ""):
            return Returned("own", found)
        if found := next((before for before in earlier if _same(text, before)), ""):
            return Returned("earlier", found)
        return self._stranger(text, exchange, ledger, now)

    def _stranger(self, text: str, exchange: str, ledger: Ledger, now: float) -> Returned:
        ours = self.recognise(text) or self._within(text)
        for known in (ours,) if ours else (text, _bare(text)):
            entry = ledger.find("request", known, now)
            if entry and entry.exchange == exchange:
                return Returned("earlier", known, entry)
            if entry:
                return Returned("another", known, entry)
        if ours:
            return Returned("ours", ours)
        return Returned("mangled" if _bare(text).startswith(PREFIX) else "foreign", text)

    def _within(self, text: str) -> str:
        """Return the first id of ours that stands in *text*, in quotes, in a list or behind somebody's prefix."""
        found = _ID.findall(text.lower()) if len(text) > _LENGTH else ()
        return next((each for each in found if self._opened(each) is not None), "")

    def _opened(self, request_id: str) -> float | None:
        try:
            raw = base64.b32decode(request_id[len(PREFIX) :].encode().translate(_FROM_CROCKFORD))
        except (binascii.Error, ValueError):
            return None
        visible, tag = raw[: _RANDOM + _TIME], raw[_RANDOM + _TIME :]
        if tag != self._tag(visible):  # no secret is guarded by it, so no constant time is needed
            return None
        return int.from_bytes(self._sealed(visible[:_RANDOM], visible[_RANDOM:])) / 1000

    def _guid_opened(self, guid: str) -> float | None:
        whole = int(guid.replace("-", ""), 16)
        # its version, which Envoy writes over, and its variant are no part of it
        bits = whole >> 80 << 74 | (whole >> 64 & 0xFFF) << 62 | whole & (1 << 62) - 1
        tag = bits >> 64
        plain = (bits & (1 << 64) - 1 ^ self._guid_pad(tag)).to_bytes(_GUID_BYTES)
        return int.from_bytes(plain[:_TIME]) / 1000 if tag == self._guid_tag(plain) else None

    def _guid_tag(self, plain: bytes) -> int:
        return int.from_bytes(blake3(plain, key=self._guid_tag_key).digest(8)) >> 6

    def _guid_pad(self, tag: int) -> int:
        return int.from_bytes(blake3(tag.to_bytes(8), key=self._guid_seal_key).digest(_GUID_BYTES))

    def _sealed(self, noise: bytes, clock: bytes) -> bytes:
        pad = blake3(noise, key=self._seal_key).digest(_TIME)
        return bytes(a ^ b for a, b in zip(clock, pad, strict=True))

    def _tag(self, visible: bytes) -> bytes:
        return blake3(PREFIX.encode() + visible, key=self._tag_key).digest(_TAG)


def session_id(key: bytes, affinity: str, account_id: str) -> str:
    """
    Return the session id, 32 hex characters, that *account_id*'s provider sees for *affinity*.

    It differs for every account, so that nobody upstream can tell that two accounts serve one person.
    """
    hasher = blake3(key=_purpose(key, "session"))
    for part in (affinity.encode(), account_id.encode()):
        hasher.update(len(part).to_bytes(8) + part)
    return hasher.hexdigest(16)


@dataclass(frozen=True, slots=True)
class Stamps:
    """
    What is put on one attempt, and what must come back.

    *expected*: place (`header x-request-id`, `body request_id`) → the value that went up there, or the one a provider
    without that place would answer with. *sent*: the ids the client brought itself, which may come back too;
    *client_id* the one among them that stands in for ours.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    client_id: str = ""
    sent: frozenset[str] = frozenset()


def stamps(
    provider: Provider,
    headers: Headers,
    body: Body,
    *,
    request_id: str,
    request_guid: str = "",
    session_id: str = "",
    thread_id: str = "",
    model_id: str = "",
    at: str = "",
) -> Stamps:
    """
    Say what *provider* wants on a request for *at* (`/chat/completions`) with the client's *headers* and *body*.

    A header or a member that the client sent itself is left alone; a template one of whose fields is empty is left out.
    """
    fields = {
        "request_id": request_id,
        "request_guid": request_guid,
        "session_id": session_id,
        "thread_id": thread_id,
        "model_id": model_id,
    }
    stamp = provider.stamp
    added = [
        (name, value)
        for name, value in _rendered(stamp.headers, fields)
        if name.lower() not in headers and value.isprintable()
    ]
    if stamp.namespace:
        added.append((NAMESPACE_HEADER, request_id))
    members: dict[str, object] = {}
    if stamp.body and body.is_object and (not stamp.body_at or at in stamp.body_at):
        members = {name: value for name, value in _rendered(stamp.body, fields) if _member(body, name) is None}
    went = {name.lower(): value for name, value in added}

    def wire(name: str) -> str | None:  # a header as it goes up
        return headers.get(name) if name in headers else went.get(name)

    own = _own(headers, body, provider)
    return Stamps(
        headers=tuple(added),
        body=members,
        expected=_expected(provider, wire, body, members, request_id),
        client_id=_client_id(headers, body, provider),
        sent=own,
    )


def _rendered(templates: Mapping[str, str], fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, template in templates.items():
        wanted = _wanted(template)
        if all(fields.get(field) for field in wanted):
            yield name, _FIELD.sub(lambda found: fields[found[1]], template) if wanted else template


@lru_cache(256)
def _wanted(template: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def _expected(
    provider: Provider,
    wire: Callable[[str], str | None],
    body: Body,
    members: Mapping[str, object],
    request_id: str,
) -> dict[str, str]:
    went: dict[str, str] = {}
    for name in provider.echo.headers:
        went[f"header {name.lower()}"] = (wire(name.lower()) or "").strip()
    for name in provider.echo.body:
        value = members.get(name, _member(body, name))
        went[f"body {name}"] = str(value).strip() if isinstance(value, str | int) else ""
    # A place that was left out is answered from another one: `request_id` in the body of an answer to a request that
    # carried only `X-Request-ID`. One that went up blank makes a provider mint an id of its own.
    other = next((value for value in went.values() if value), "") or _elsewhere(provider, wire, members, request_id)
    blank = {f"header {name.lower()}" for name in provider.echo.headers if wire(name.lower()) is not None}
    expected = {place: value or ("" if place in blank else other) for place, value in went.items()}
    return {place: value for place, value in expected.items() if value}


def _elsewhere(
    provider: Provider, wire: Callable[[str], str | None], members: Mapping[str, object], request_id: str
) -> str:
    """Return our id if it went up under a name that is no echo's: one that `stamp:` gives, else our own header."""
    stamp = provider.stamp
    templates = {**stamp.headers, **stamp.body}
    names = [name for name, template in templates.items() if "{request_id}" in template]
    if not names:
        names = [NAMESPACE_HEADER]
    went = any(request_id in (wire(name.lower()) or "") or request_id in str(members.get(name)) for name in names)
    return request_id if went else ""


def _client_id(headers: Headers, body: Body, provider: Provider) -> str:
    for name in provider.echo.headers:
        if value := headers.get(name.lower()).strip():
            return value
    return next((value for name in provider.echo.body if (value := body.text(name).strip())), "")


def _own(headers: Headers, body: Body, provider: Provider) -> frozenset[str]:
    values = [value.strip() for name in _OWN_HEADERS for value in headers.all(name)]
    values += [value.strip() for name in provider.echo.headers for value in headers.all(name.lower())]
    values += [str(value) for name in provider.echo.body if isinstance(value := _member(body, name), str | int)]
    return frozenset(value for value in values if value.lower() not in _BLANK and len(value) <= 512)


def _member(body: Body, name: str) -> object:
    outer, _, inner = name.partition(".")
    value = body.get(outer)
    return value.get(inner) if inner and isinstance(value, dict) else None if inner else value


def _bare(value: str) -> str:
    """Return *value* in lower case, without what engines put before an id."""
    text = value.strip().lower()
    for prefix in _ENGINE_PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _same(value: str, sent: str) -> bool:
    """
    Whether *value* is *sent*, as proxies and engines hand it back.

    They fold case and put `chatcmpl-` before it; Envoy writes its trace decision into the fifteenth character of
    whatever has the length of a UUID. They also cut it, or hang something on: that is allowed for in our own ids only,
    since a client may well use `…-1` and `…-12` for two requests.
    """
    if not sent:
        return False
    text, wanted = _bare(value), sent.lower()
    if wanted in (value.lower(), text):
        return True
    if len(text) == len(wanted) == 36 and _UUID.fullmatch(wanted):
        return text[:14] + text[15:] == wanted[:14] + wanted[15:]
    if not wanted.startswith(PREFIX):
        return False
    if text.startswith(wanted):
        return not text[len(wanted)].isalnum()
    return len(text) >= _CUT and wanted.startswith(text)


@lru_cache(64)
def _purpose(key: bytes, purpose: str) -> bytes:
    return blake3(key, derive_key_context=f"patchbay 2026 correlation {purpose}").digest()
