"""
URLs of an account's upstream in an answer (results, uploads, operations, pages), rewritten for the client.

The next request of a reverse listener's client then comes here, and goes to the same account. Texts of a model or a
client (generations, members that hold such texts, downloads) are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin

from . import credential_places, dialects, json_splice, upstream_url
from .media_types import EVENTS, JSON_LINES, is_json, media_type
from .values import header_names
from .values.account import Account
from .values.http import DEFAULT_PORTS, Endpoint, Headers, Origin, Request, is_loopback

READ = 16 * 1024 * 1024  # bytes of an answer in which addresses are looked for; a larger one passes as it is
LINE = 1024 * 1024  # bytes of a line of a stream that wait for its end; a longer one passes as it is
GIVEN = 256  # addresses of one answer that are remembered for their account
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]\"<>\\]+)(?::(?P<port>\d{1,5}))?"
                  r"(?P<path>/[^\s?#\"<>\\]*)?(?P<query>\?[^\s#\"<>\\]*)?(?P<fragment>#[^\s\"<>\\]*)?",
                  re.IGNORECASE)  # fmt: skip
_IN_LINK = re.compile(r"<([^<>\s]*)>")
_IN_REFRESH = re.compile(r"(?<=url=)[^\s;\"']+", re.IGNORECASE)
_PLACES = frozenset("location content-location operation-location".split())  # their values are always addresses
_PORT = re.compile(r":\d{1,5}$")
_FORWARDED = frozenset("x-forwarded-host x-forwarded-port x-forwarded-prefix x-forwarded-proto".split())
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
# Members that hold texts of a model, or values of the client that must come back unchanged.
_ANSWER_TEXT = frozenset(
    "content text delta output outputs arguments args input message messages candidates parts choices instructions"
    " prompt metadata system tools parameters schema functionCall functionResponse attributes labels title"
    " description display_name displayName revised_prompt answer completion generated_text contents annotation"
    " annotations citations action sources summary code logs stdout stderr refusal transcript thinking value"
    " queries query search_query operation commands command diff word words segments token tokens logprobs document"
    " documents datasource_item sample tool_calls step_details name filename file_name fileName".split()
)
_ANSWER_TEXT_LAST = frozenset({"response"})  # a text of the model; an object may hold anything
# Members of a request that hold the URL of a resource; not below those that hold texts.
_URL_MEMBERS = frozenset("uri fileUri file_uri url image_url file_url video_url audio_url".split())
_TEXT_MEMBERS = frozenset("arguments args functionCall functionResponse metadata text".split())
_WORDLESS = ("/images/", "/audio/", "/videos")  # generations whose answers are no text
_DOWNLOADS = re.compile(r"(?:/content|/results|:download|/download)$")
_NO_ADDRESS = ("access-control-", "content-security-policy", header_names.OURS)  # origins that stand there are policies


def client_address(headers: Headers, authority: str, scheme: str) -> str:
    """
    Return the address by which a client reached this proxy, as `http://127.0.0.1:8080`; empty where it names none.

    *authority* is HTTP/2's `:authority`. A front that terminates TLS states its address in `X-Forwarded-…` *headers*.
    """
    told = {name: headers.get(name).partition(",")[0].strip() for name in _FORWARDED.intersection(headers.names())}
    called = told.get("x-forwarded-host") or authority or headers.get("host").strip()
    if not _AUTHORITY.fullmatch(called):
        return ""
    if not told:
        return f"{scheme}://{called}"
    forwarded, port = told.get("x-forwarded-proto", "").lower(), told.get("x-forwarded-port", "")
    scheme = forwarded if forwarded in DEFAULT_PORTS else scheme
    if headers.get("x-forwarded-host") and not _PORT.search(called) and _PORT.fullmatch(f":{port}"):
        called += "" if int(port) == DEFAULT_PORTS[scheme] else f":{port}"
    prefix = told.get("x-forwarded-prefix", "").rstrip("/")
    return f"{scheme}://{called}{prefix if _PREFIX.fullmatch(prefix) else ''}"


@dataclass(slots=True)
class AddressMap:
    """
    Maps the URLs of one request's upstream to URLs that its client can use.

    Without an *address* the client named the upstream itself, and URLs stay as they are.
    """

    account: Account
    origin: Origin
    address: str  # that of `client_address`
    asked: str  # the request's path here
    went: str  # the same, upstream
    anywhere: bool = False  # only paths of a dialect are served here
    given: list[str] = field(default_factory=list)  # targets, without keys, of the URLs that the client got

    @property
    def mark(self) -> bytes:
        """Bytes that occur in every text with a URL of this upstream, however its slashes are escaped."""
        return b"http" if is_loopback(self.origin.host) else self.origin.host.encode()

    def for_client(self, url: str) -> str:
        """Return *url* for the client; unchanged where it is no URL of this upstream."""
        found = _URL.fullmatch(url)
        if found is None or not self._is_upstreams(found):
            return url
        bare, query = found["path"] or "", _without_keys(found["query"] or "")
        asked = self._path_here(bare, query) if self.address else bare
        if asked is None:
            return url
        self.note(asked + query)
        return f"{self.address}{asked}{query}{found['fragment'] or ''}" if self.address else url

    def note(self, target: str) -> None:
        """Note that the client gets *target*, a path with its query."""
        if target.startswith("/") and len(self.given) < GIVEN:
            self.given.append(credential_places.without_key(target))

    def header(self, name: str, value: str) -> str:
        """Return the *value* of the header *name* (lower case) for the client."""
        if name.startswith(_NO_ADDRESS):
            return value
        if name == "link":
            return _IN_LINK.sub(lambda found: f"<{self._reference_for_client(found[1])}>", value)
        if name == "refresh":
            return _IN_REFRESH.sub(lambda found: self._reference_for_client(found[0]), value)
        if name in _PLACES:
            return self._reference_for_client(value.strip())
        return self.for_client(value.strip()) if _URL.fullmatch(value.strip()) else value

    def _reference_for_client(self, value: str) -> str:
        if value.startswith("//"):
            whole = f"{self.origin.scheme}:{value}"
            found = self.for_client(whole)
            return value if found == whole else found
        if not _URL.fullmatch(value):
            self.note(urljoin(self.asked, value))  # relative: it leads here by itself
            return value
        return self.for_client(value)

    def body(self, text: bytes) -> bytes:
        """Return the JSON *text* with its URLs for the client."""
        if len(text) > READ:
            return text
        return json_splice.with_strings(text, self._member, self.mark)

    def _member(self, value: str, names: tuple[str, ...]) -> str:
        said = not _ANSWER_TEXT.isdisjoint(names) or (names and names[-1] in _ANSWER_TEXT_LAST)
        return value if said else self.for_client(value)

    def _is_upstreams(self, found: re.Match[str]) -> bool:
        scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]").rstrip(".")
        port, own = int(found["port"] or DEFAULT_PORTS[scheme]), self.origin
        if host != own.host and not (is_loopback(host) and is_loopback(own.host)):
            return False
        if port == own.port:
            return scheme == own.scheme or found["port"] is not None
        # behind a TLS terminator, a server may write its own scheme and port
        return {port, own.port} == set(DEFAULT_PORTS.values())

    def _path_here(self, bare: str, query: str) -> str | None:
        if not bare:
            return None if self.account.base_path else bare
        here, there = _without_common_end(self.asked, self.went)
        candidates = [here + bare[len(there) :]] if (bare + "/").startswith(there + "/") else []
        return next((path for path in (*candidates, bare) if self._leads_to(path, bare, query)), None)

    def _leads_to(self, path: str, bare: str, query: str) -> bool:
        endpoint = dialects.endpoint("GET", path)
        endpoint = endpoint if endpoint.dialect else dialects.endpoint("POST", path)
        if not endpoint.dialect and (self.anywhere or not upstream_url.takes(self.account, path)):
            return False
        readings = upstream_url.readings(endpoint, path, ())
        spoken = [each for each in readings if each.family in ("", *self.account.provider.families)]
        goes = (upstream_url.join(self.account, path + query, each, each.model) for each in spoken)
        return any(target.partition("?")[0] == bare for target in goes)


class LineRewriter:
    """Rewrites the lines of a stream (server-sent events, JSON lines), each as soon as it is complete."""

    def __init__(self, addresses: AddressMap) -> None:
        self._addresses = addresses
        self._kept = bytearray()
        self._passing = False  # the rest of a line that is too long

    def feed(self, data: bytes) -> bytes:
        """Return the lines that are complete with *data*."""
        self._kept += data
        end = max(self._kept.rfind(b"\n"), self._kept.rfind(b"\r")) + 1
        whole, rest = bytes(self._kept[:end]), self._kept[end:]
        out = b"".join(self._lines(whole))
        if self._passing or len(rest) > LINE:
            self._passing = True
            out += bytes(rest)
            rest = bytearray()
        self._kept = rest
        return out

    def rest(self) -> bytes:
        """Return the incomplete last line, once."""
        rest, self._kept = bytes(self._kept), bytearray()
        return rest if self._passing else self._addresses.body(rest)

    def _lines(self, whole: bytes) -> Iterator[bytes]:
        for line in whole.splitlines(keepends=True):
            yield line if self._passing else self._addresses.body(line)
            self._passing = False


def body_form(endpoint: Endpoint, path: str, status: int, header: Callable[[str], str]) -> str:
    """
    Return how the body of an answer to *path* is rewritten: `whole`, by `lines`, or not at all (empty).

    *header* returns the first value of a header of the answer.
    """
    bare, _, query = path.partition("?")
    words = endpoint.kind == "generation" and status != 202 and not endpoint.suffix.startswith(_WORDLESS)
    if words or status == 206 or status >= 400 or _DOWNLOADS.search(unquote(bare)) or "alt=media" in query.split("&"):
        return ""
    if header("content-disposition").lower().startswith("attachment"):
        return ""
    kind = media_type(header("content-type"))
    if kind in JSON_LINES or kind == EVENTS:
        return "lines"
    return "whole" if is_json(kind) else ""


def for_upstream(request: Request, raw: bytes, account: Account, origin: Origin) -> bytes:
    """Return *raw*, the body of *request*, with URLs of this proxy replaced by those of *account*'s upstream."""
    mark = request.address.partition("://")[2].partition("/")[0].encode()
    if not mark or mark not in raw:
        return raw
    return json_splice.with_strings(raw, _at_upstream(request.address, account, origin), mark)


def _at_upstream(begins: str, account: Account, origin: Origin) -> Callable[[str, tuple[str, ...]], str]:
    base = str(origin).removesuffix(f":{DEFAULT_PORTS[origin.scheme]}")

    def change(value: str, names: tuple[str, ...]) -> str:
        target = value.removeprefix(begins)
        named = names and names[-1] in _URL_MEMBERS and _TEXT_MEMBERS.isdisjoint(names) and "input" not in names[1:]
        if not named or target == value or not target.startswith("/"):
            return value
        endpoint = dialects.endpoint("GET", target.partition("?")[0])
        return base + upstream_url.join(account, target, endpoint, endpoint.model)

    return change


def _without_keys(query: str) -> str:
    parts = query[1:].split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in credential_places.QUERY_KEYS]
    return "?" + "&".join(kept) if any(kept) else ""


def _without_common_end(asked: str, went: str) -> tuple[str, str]:
    one, other = asked.partition("?")[0].split("/"), went.partition("?")[0].split("/")
    while len(one) > 1 and len(other) > 1 and one[-1] == other[-1]:
        one.pop()
        other.pop()
    return "/".join(one), "/".join(other)
