"""
What is refused before anybody looks at what it asks for: other sites' pages, heads out of bounds, paths that lie.

A web page can make a browser send requests to a port on this machine. It cannot read the answers, but with a key of
ours they would cost money; and a name that its owner points at this machine lets it read them too. So a request must
come from a program, or from a page that was allowed, and must call us by a name that is ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote

from . import dialects
from .settings.settings import Config
from .upstream_url import ANYWHERE
from .values.decision import Refusal
from .values.http import Endpoint, Headers, is_loopback

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_ODD = re.compile(r"[\\#\0\r\n]")
_JOINED = re.compile(r"(?:/[\w.~%-]+)*//")  # a path behind a base URL that ends in '/'
_SLASHES = re.compile(r"/{2,}")
_METHODS = ("x-http-method-override", "x-http-method", "x-method-override")
_PATHS = ("x-original-url", "x-rewrite-url")  # what some servers read in place of the path
_PORTS = {"http": "80", "https": "443"}
_OUR_OWN_PAGE = frozenset({"none", "same-origin"})
_SPELLED_OTHERWISE = frozenset(
    "authorization proxy-authorization x-api-key x-goog-api-key api-key content-length transfer-encoding host cookie"
    " openai-organization openai-project x-goog-user-project chatgpt-account-id".split()
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    How a request came in.

    *host* is what the client called us, *here* are names that are ours on this connection, *secure* tells whether it
    came over TLS. *target* is the host and port that a proxy's client asked for; then that is what it has to call us.
    """

    method: str
    path: str
    headers: Headers
    host: str
    here: Collection[str]
    secure: bool = False
    target: str = ""


class Guards:
    """The guards, set for one configuration."""

    def __init__(self, config: Config) -> None:
        self._limits = config.limits
        self._origins = frozenset(origin.lower() for origin in config.allowed_origins)
        self._hosts = (
            *(host.lower() for host in config.allowed_hosts),
            *(account.origin.host for account in config.accounts if account.origin),
            ANYWHERE,
        )

    def refusal(self, arrival: Arrival, endpoint: Endpoint) -> Refusal | None:
        """Say why the request that *arrival* describes is refused, if it is."""
        return (
            self._head(arrival.headers)
            or _fields(arrival.headers, arrival.method, arrival.path)
            or _path(arrival, endpoint)
            or self._host(arrival)
            or self._site(arrival)
            or self._form(arrival.headers, endpoint)
        )

    def too_large(self, headers: Headers) -> Refusal | None:
        """Refuse a body whose announced length is above what we read."""
        said, limit = headers.get("content-length").strip(), self._limits.body
        return body_too_large(limit) if said.isdecimal() and int(said) > limit else None

    def allowed_origin(self, headers: Headers) -> str:
        """Return the origin of the page that asks, when it is one that the settings allow."""
        origin = headers.get("origin").strip()
        return origin if origin and self._allows(origin) else ""

    def _head(self, headers: Headers) -> Refusal | None:
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) <= self._limits.headers and size <= self._limits.head:
            return None
        return Refusal(431, "head_too_large", "The request has more headers than limits.headers and limits.head allow")

    def _host(self, arrival: Arrival) -> Refusal | None:
        found = _AUTHORITY.fullmatch(arrival.host.strip())
        name = _name(found["host"]) if found else ""
        scheme = "https" if arrival.secure else "http"
        if arrival.target and _with_port(arrival.host.strip().lower(), scheme) != arrival.target:
            return Refusal(403, "host_not_allowed", "The Host of this request is not where the request goes")
        if name and (is_loopback(name) or name in arrival.here or any(fnmatchcase(name, host) for host in self._hosts)):
            return None
        return Refusal(
            403, "host_not_allowed", "This proxy does not go by the name in Host; the setting allowed_hosts adds names"
        )

    def _site(self, arrival: Arrival) -> Refusal | None:
        headers = arrival.headers
        origins = headers.all("origin")
        if origins and all(self._allows(origin.strip()) for origin in origins):
            return None
        # Sec-Fetch-Mode says nothing: Node sends `cors` as well
        sites = all(site.strip().lower() in _OUR_OWN_PAGE for site in headers.all("sec-fetch-site"))
        if sites and all(_is_same(origin, arrival) for origin in origins):
            return None
        return Refusal(
            403,
            "cross_site",
            "A web page of another site asks, and is not allowed to; the setting allowed_origins adds pages",
        )

    def _form(self, headers: Headers, endpoint: Endpoint) -> Refusal | None:
        # what a plain form can send without asking first, and no client of a model ever does
        kind = headers.get("content-type").partition(";")[0].strip().lower()
        if endpoint.kind != "generation" or kind != "text/plain" or self.allowed_origin(headers):
            return None
        return Refusal(415, "content_type", "A body of type text/plain is not taken; send application/json")

    def _allows(self, origin: str) -> bool:
        return origin.lower() in self._origins


def body_too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more than *limit* bytes."""
    return Refusal(413, "body_too_large", f"The body is larger than the {limit} bytes of the setting limits.body")


def body_too_deep() -> Refusal:
    """Return the refusal of a body that nests deeper than anybody means."""
    return Refusal(400, "body_too_deep", "The JSON of the body is nested too deeply to be read")


def _fields(headers: Headers, method: str, path: str) -> Refusal | None:
    if any(value.strip() != path for name in _PATHS for value in headers.all(name)):
        return _header_unusable()
    if any(value.strip().lower() != "chunked" for value in headers.all("transfer-encoding")):
        return _header_unusable()  # a body that is packed for the way is read by nobody here
    if any(value.strip().upper() != method for name in _METHODS for value in headers.all(name)):
        return _header_unusable()
    for name in headers.names():
        if "_" in name:
            otherwise = name.replace("_", "-")
            if otherwise in _SPELLED_OTHERWISE or otherwise.startswith("x-patchbay-"):
                return _header_unusable()
    if _upgrades_oddly(headers):
        return _header_unusable()
    if any("\n" in value or "\r" in value or "\0" in value for _, value in headers):
        return _header_unusable()
    return None


def _upgrades_oddly(headers: Headers) -> bool:
    """
    Whether a server could open a WebSocket where mitmproxy sees none, or of a kind it does not know.

    It would pass what comes then as bytes, and no message would be looked at.
    """
    asked = tuple(value.strip().lower() for value in headers.all("upgrade"))
    if not any("websocket" in value for value in asked) and not any(
        n.startswith("sec-websocket-") for n in headers.names()
    ):
        return False
    return asked != ("websocket",) or headers.all("sec-websocket-version") != ("13",)


def _header_unusable() -> Refusal:
    return Refusal(400, "header_unusable", "A header of this request can be read in two ways")


def _path(arrival: Arrival, endpoint: Endpoint) -> Refusal | None:
    bare = arrival.path.partition("?")[0]
    once = unquote(bare)
    odd = not bare.startswith("/") or _ODD.search(once)
    if odd or any(_climbs(read) for read in {bare, once, unquote(once)}):
        return Refusal(400, "path_unusable", "The path of this request can be read in two ways")
    joined = _JOINED.match(bare) and (bare.startswith("//") or dialects.endpoint(arrival.method, bare).dialect)
    if joined or dialects.is_ambiguous(arrival.method, bare):
        return Refusal(400, "path_unusable", f"The path of this request can be read in two ways{_slashes(arrival)}")
    if endpoint.dialect and endpoint.asks == "unread":
        return Refusal(400, "path_unusable", "The path of this request names a model and nothing that is done with it")
    return None


def _slashes(arrival: Arrival) -> str:
    """Say which slash of the path of *arrival* is one too many, and which base URL is right."""
    path = arrival.path.partition("?")[0]
    fixed = _SLASHES.sub("/", path).rstrip("/")
    if fixed == path:
        return ""
    if not dialects.endpoint(arrival.method, fixed).dialect:
        return "; does your base URL end in '/'?"
    before, twice, _ = path.partition("//")
    if twice:
        here = f"{'https' if arrival.secure else 'http'}://{arrival.host}{before}"
        return f": your base URL ends in '/'; use {here} as the base URL"
    return f": it ends in '/'; use {fixed} behind your base URL"


def _climbs(path: str) -> bool:
    return "." in path and any(segment.partition(";")[0] in (".", "..") for segment in path.split("/"))


def _is_same(origin: str, arrival: Arrival) -> bool:
    """Whether *origin* is the page's own: the host that it asks, which has been found to be ours."""
    scheme, mark, authority = origin.strip().lower().partition("://")
    if not mark or scheme != ("https" if arrival.secure else "http"):
        return False
    return _with_port(authority, scheme) == _with_port(arrival.host.strip().lower(), scheme) != ""


def _with_port(authority: str, scheme: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return f"{_name(found['host'])}:{found['port'] or _PORTS[scheme]}" if found else ""


def _name(host: str) -> str:
    return host.strip("[]").lower()
