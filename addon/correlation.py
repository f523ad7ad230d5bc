"""
Request ids: minting, stamping requests, and classifying the values that come back.

An id is `pb1-` and 48 characters: 12 random bytes, the time encrypted with them, and a 96-bit tag over both. Without
the key it is noise that cannot be linked or forged. The second form, for providers that want a GUID, is the encrypted
time, two bytes of a digest, and a 58-bit tag.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Buffer, Callable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Literal

from .body import Body
from .frozen import dataclass
from .keyed import derive, digest, tag
from .ledger import Entry, Ledger
from .values import header_names
from .values.account import METADATA, Provider
from .values.http import Headers

PREFIX = "pb1-"
_OUR_HEADER = header_names.REQUEST_ID.title()
ReturnedKind = Literal["match", "earlier", "client", "other", "unknown", "mangled", "foreign", "blank"]

_RANDOM, _TIME, _TAG = 12, 6, 12  # bytes
_WORDS = 16  # bytes of a keyed digest
_GUID_BYTES = 8  # of a GUID that are encrypted; its tag has what is left of 122 bits
_LENGTH = 52  # characters; never 36, since some proxies rewrite what looks like a UUID
_RFC4648, _CROCKFORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghjkmnpqrstvwxyz"
_TO_CROCKFORD = bytes.maketrans(_RFC4648, _CROCKFORD)
_FROM_CROCKFORD = bytes.maketrans(_CROCKFORD, _RFC4648)
_ID = re.compile(PREFIX + r"[0-9a-hjkmnp-tv-z]{48}(?![0-9a-z])")
_ENGINE_PREFIXES = ("chatcmpl-", "cmpl-", "resp_", "resp-", "msg_", "embd-")
_CUT = 20  # characters of an id that must be left of it to be taken for that id, cut off
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FIELD = re.compile(r"\{(\w+)\}")
REPEATING = "/responses"  # the endpoint whose answers repeat the request's metadata
_MOST_METADATA = 16  # entries; https://platform.openai.com/docs/api-reference/responses/create
_BLANK = frozenset({"", "-", "null", "none", "undefined", "unknown", "0"})
_CLIENT_ID_HEADERS = frozenset(
    "x-request-id x-client-request-id x-correlation-id request-id x-ms-client-request-id x-litellm-call-id"
    " idempotency-key x-trace-id".split()
)


@dataclass(frozen=True, slots=True)
class Returned:
    """
    A classified value: *value* is the bare id, *entry* the ledger's entry of its owner, for `other` and some `earlier`.

    `match` is the id of this attempt, `client` one that the client sent with it, `earlier` one of an earlier attempt,
    `other` that of another exchange; `unknown` is an id of ours whose owner is not in the ledger.
    """

    kind: ReturnedKind
    value: str = ""
    entry: Entry | None = None


class Mint:
    """Mints request ids under a 32-byte secret *key*, and recognises them with that key alone."""

    def __init__(self, key: bytes) -> None:
        self._tag_key = _derived(key, "tag")
        self._pad_key = _derived(key, "seal")
        self._guid_tag_key = _derived(key, "guid tag")
        self._guid_pad_key = _derived(key, "guid seal")
        self._words_key = _derived(key, "words")

    def new(self, now: float, random_bytes: Callable[[int], bytes]) -> str:
        """Return a fresh id of the time *now* (the clock's seconds)."""
        noise = random_bytes(_RANDOM)
        clock = (max(0, int(now * 1000)) % (1 << 8 * _TIME)).to_bytes(_TIME)
        visible = noise + self._xored(noise, clock)
        text = base64.b32encode(visible + self._tag(visible)).translate(_TO_CROCKFORD)
        return PREFIX + text.decode()

    def guid(self, request_id: str) -> str:
        """Return *request_id* in the form of a GUID (version 8), always the same one."""
        clock = int((self.time_of(request_id) or 0.0) * 1000).to_bytes(_TIME)
        plain = clock + tag(self._guid_tag_key, request_id.encode(), _GUID_BYTES - _TIME)
        proof = self._guid_tag(plain)
        bits = proof << 64 | int.from_bytes(plain) ^ self._guid_pad(proof)
        whole = bits >> 74 << 80 | 8 << 76 | (bits >> 62 & 0xFFF) << 64 | 2 << 62 | bits & (1 << 62) - 1
        text = f"{whole:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def keyed(self, words: Buffer) -> bytes:
        """Return a digest of *words* under a key of ours, so that it cannot be guessed; empty for empty words."""
        return tag(self._words_key, words, _WORDS) if words else b""

    def recognise(self, value: str) -> str:
        """Return *value* as a bare id of ours in lower case, or the empty string."""
        text = _normalised(value)
        if len(text) == 36 and _UUID.fullmatch(text):
            return text[:14] + "8" + text[15:] if self._time_in_guid(text) is not None else ""
        found = _ID.match(text) if text.startswith(PREFIX) else None
        return found[0] if found and self._time_in(found[0]) is not None else ""

    def time_of(self, request_id: str) -> float | None:
        """Return the time of an id of ours, in either form; None for other ids."""
        if _UUID.fullmatch(request_id):
            return self._time_in_guid(request_id)
        found = _ID.fullmatch(request_id)
        return self._time_in(request_id) if found else None

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
        Classify *value* of an answer, for the attempt that sent *mine*.

        *sent*: the client's ids that went up with it; *earlier*: the ids of this exchange's earlier attempts.
        """
        text = value.strip()
        folded = text.lower()
        if folded in _BLANK:
            return Returned("blank")
        is_uuid = len(folded) == 36 and _UUID.fullmatch(folded)
        if _matches(text, mine) or (is_uuid and _matches(text, self.guid(mine))):
            return Returned("match", mine)
        if mine.startswith(PREFIX) and mine in folded and set(_ID.findall(folded)) <= {mine}:
            return Returned("match", mine)  # in quotes, in a list, behind what a gateway puts before it
        if found := [own for own in sent if _matches(text, own)]:
            return Returned("client", found[0])
        if found := [before for before in earlier if _matches(text, before)]:
            return Returned("earlier", found[0])
        return self._by_ledger(text, exchange, ledger, now)

    def _by_ledger(self, text: str, exchange: str, ledger: Ledger, now: float) -> Returned:
        ours = self.recognise(text) or self._within(text)
        plain = _normalised(text)
        for known in (ours,) if ours else dict.fromkeys((text, plain)):
            entry = ledger.find("request", known, now)
            if entry and entry.exchange == exchange:
                return Returned("earlier", known, entry)
            if entry:
                return Returned("other", known, entry)
        if ours:
            return Returned("unknown", ours)
        return Returned("mangled" if plain.startswith(PREFIX) else "foreign", text)

    def _within(self, text: str) -> str:
        """Return the first id of ours inside *text*."""
        found = _ID.findall(text.lower()) if len(text) > _LENGTH else ()
        return next((each for each in found if self._time_in(each) is not None), "")

    def _time_in(self, request_id: str) -> float | None:
        """Return the time of *request_id*, which has the form `_ID`, if it is ours."""
        raw = base64.b32decode(request_id[len(PREFIX) :].encode().translate(_FROM_CROCKFORD))
        visible, proof = raw[: _RANDOM + _TIME], raw[_RANDOM + _TIME :]
        if proof != self._tag(visible):  # no secret is guarded by it, so no constant time is needed
            return None
        return int.from_bytes(self._xored(visible[:_RANDOM], visible[_RANDOM:])) / 1000

    def _time_in_guid(self, guid: str) -> float | None:
        whole = int(guid.replace("-", ""), 16)
        # its version, which Envoy writes over, and its variant are no part of it
        bits = whole >> 80 << 74 | (whole >> 64 & 0xFFF) << 62 | whole & (1 << 62) - 1
        proof = bits >> 64
        plain = (bits & (1 << 64) - 1 ^ self._guid_pad(proof)).to_bytes(_GUID_BYTES)
        return int.from_bytes(plain[:_TIME]) / 1000 if proof == self._guid_tag(plain) else None

    def _guid_tag(self, plain: bytes) -> int:
        return int.from_bytes(tag(self._guid_tag_key, plain, 8)) >> 6

    def _guid_pad(self, proof: int) -> int:
        return int.from_bytes(tag(self._guid_pad_key, proof.to_bytes(8), _GUID_BYTES))

    def _xored(self, noise: bytes, clock: bytes) -> bytes:
        pad = tag(self._pad_key, noise, _TIME)
        return (int.from_bytes(clock) ^ int.from_bytes(pad)).to_bytes(_TIME)

    def _tag(self, visible: bytes) -> bytes:
        return tag(self._tag_key, PREFIX.encode() + visible, _TAG)


def session_id(key: bytes, affinity: str, account_id: str) -> str:
    """Return the session id (32 hex characters) of *affinity*, another for each account: none can be linked."""
    return digest(_derived(key, "session"), affinity.encode(), account_id.encode()).hex()


@dataclass(frozen=True, slots=True)
class Stamps:
    """
    The stamps of one attempt, and the values that must come back.

    *expected*: place (`header x-request-id`, `body request_id`) → the value that must come back there. *sent*: the
    client's own ids, which may come back too; *client_id*: the one among them that replaces ours. *compared*: the id of
    an earlier answer of the provider's, with whose request it is asked to compare this one.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    client_id: str = ""
    sent: frozenset[str] = frozenset()
    compared: str | None = None


def stamps(
    provider: Provider,
    headers: Headers,
    body: Body,
    *,
    request_id: str,
    at: str = "",
    in_metadata: bool = True,
    **others: str,
) -> Stamps:
    """
    Return the stamps that *provider* wants on a request for *at* (`/chat/completions`) with *headers* and *body*.

    *in_metadata*: the upstream takes one there. *others* are the fields of templates besides *request_id*:
    request_guid, session_id, thread_id, model_id. A header or a member that the client sent itself is left alone; a
    template one of whose fields is empty is left out.
    """
    fields, stamp = {"request_id": request_id, **others}, provider.stamp
    added = [
        (name, value)
        for name, value in _rendered(stamp.headers, fields)
        if name.lower() not in headers and value.isprintable()
    ]
    if stamp.patchbay_headers:
        added.append((_OUR_HEADER, request_id))
    members: dict[str, object] = {}
    if stamp.body and body.is_object and (not stamp.body_paths or at in stamp.body_paths):
        members = {name: value for name, value in _rendered(stamp.body, fields) if _member(body, name) is None}
    if provider.echo.in_metadata and in_metadata and at == REPEATING and _has_room(body):
        members[METADATA] = request_id
    went = {name.lower(): value for name, value in added}

    def wire(name: str) -> str | None:  # a header as it goes up
        return headers.get(name) if name in headers else went.get(name)

    return Stamps(
        headers=tuple(added),
        body=members,
        expected=_expected(provider, wire, body, members, request_id),
        client_id=_client_id(headers, body, provider),
        sent=_client_ids(headers, body, provider),
    )


def names_own(body: Body) -> bool:
    """Whether the client of *body* sent a value of its own where ours would go."""
    return body.is_object and _member(body, METADATA) is not None


def _has_room(body: Body) -> bool:
    """Whether a member can be added to the metadata of *body*: an object of texts, as the API has it, or none yet."""
    if not body.is_object or names_own(body):
        return False
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return metadata is None
    return len(metadata) < _MOST_METADATA and all(isinstance(value, str) for value in metadata.values())


def _rendered(templates: Mapping[str, str], fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, template in templates.items():
        pieces = list(_pieces(template))
        pieces[1::2] = filled = [fields.get(field, "") for field in pieces[1::2]]
        if all(filled):
            yield name, "".join(pieces)


@lru_cache(256)
def _pieces(template: str) -> tuple[str, ...]:
    """Return the parts of *template*; every second one is the name of a field."""
    return tuple(_FIELD.split(template))


def _expected(
    provider: Provider,
    wire: Callable[[str], str | None],
    body: Body,
    members: Mapping[str, object],
    request_id: str,
) -> dict[str, str]:
    headers = {f"header {name}": wire(name) for name in map(str.lower, provider.echo.headers)}
    went = {place: (value or "").strip() for place, value in headers.items()}
    for name in provider.echo.body:
        if name == METADATA and name not in members:
            continue  # nothing comes back that did not go up there
        value = members.get(name, _member(body, name))
        went[f"body {name}"] = str(value).strip() if isinstance(value, str | int) else ""
    # A place that was left out is answered from another one: `request_id` in the body of an answer to a request that
    # carried only `X-Request-ID`. One that went up blank makes a provider mint an id of its own.
    other = next(filter(None, went.values()), "") or _elsewhere(provider, wire, members, request_id)
    expected = {place: value or (other if headers.get(place) is None else "") for place, value in went.items()}
    return {place: value for place, value in expected.items() if value}


def _elsewhere(
    provider: Provider, wire: Callable[[str], str | None], members: Mapping[str, object], request_id: str
) -> str:
    """Return our id if it went up under another name than an echo's: one of `stamp:`, else our own header."""
    stamp = provider.stamp
    templates = {**stamp.headers, **stamp.body}
    names = [name for name, template in templates.items() if "{request_id}" in template] or [_OUR_HEADER]
    went = any(request_id in (wire(name.lower()) or "") or request_id in str(members.get(name)) for name in names)
    return request_id if went else ""


def _client_id(headers: Headers, body: Body, provider: Provider) -> str:
    for name in provider.echo.headers:
        if value := headers.get(name.lower()).strip():
            return value
    return next((value for name in provider.echo.body if (value := body.text(name).strip())), "")


def _client_ids(headers: Headers, body: Body, provider: Provider) -> frozenset[str]:
    named = _CLIENT_ID_HEADERS.intersection(headers.names())
    values = [value.strip() for name in named for value in headers.all(name)]
    values += [value.strip() for name in provider.echo.headers for value in headers.all(name.lower())]
    values += [str(value) for name in provider.echo.body if isinstance(value := _member(body, name), str | int)]
    return frozenset([value for value in values if value.lower() not in _BLANK and len(value) <= 512])


def _member(body: Body, name: str) -> object:
    outer, _, inner = name.partition(".")
    value = body.get(outer)
    return value.get(inner) if inner and isinstance(value, dict) else None if inner else value


def _normalised(value: str) -> str:
    """Return *value* in lower case, without the prefix of an engine."""
    text = value.strip().lower()
    for prefix in _ENGINE_PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _matches(value: str, sent: str) -> bool:
    """
    Whether *value* is *sent*, as proxies and engines return it.

    They fold case and prepend `chatcmpl-`; Envoy writes its trace decision into the fifteenth character of a UUID. Our
    own ids may also come back cut or extended; a client's may not, since it may use `…-1` and `…-12` for two requests.
    """
    if not sent:
        return False
    text, wanted = _normalised(value), sent.lower()
    if wanted in (value.lower(), text):
        return True
    if len(text) == len(wanted) == 36 and _UUID.fullmatch(wanted):
        return text[:14] + text[15:] == wanted[:14] + wanted[15:]
    if not wanted.startswith(PREFIX):
        return False
    if text.startswith(wanted):
        return not text[len(wanted)].isalnum()
    return len(text) >= _CUT and wanted.startswith(text)


def _derived(key: bytes, purpose: str) -> bytes:
    return derive(key, f"patchbay 2026 correlation {purpose}")
