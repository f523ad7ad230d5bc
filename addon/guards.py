"""
Checks of every request before its content: pages of other sites, heads out of bounds, ambiguous paths and headers.

A web page can make a browser send requests here, which cost money, and by DNS rebinding can read the answers. So a
request must come from a program or an allowed page, and its Host must be a name of this proxy.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from itertools import chain
from urllib.parse import unquote

from . import base_urls, dialects
from .base_urls import BaseUrlMistake
from .frozen import dataclass
from .media_types import media_type
from .settings.settings import Config
from .upstream_url import ANYWHERE
from .values import header_names
from .values.decision import Refusal
from .values.http import DEFAULT_PORTS, Endpoint, Headers, is_loopback

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_ODD = re.compile(r"[\\#\0\r\n]")
_JOINED = re.compile(r"(?:/[\w.~%-]+)*//")  # of a base URL that ends in '/'
_SLASHES = re.compile(r"/{2,}")
# Headers by which a client decides where its request goes → the code where the value may not be a name.
CHOICES = {header_names.ACCOUNT: "account_unknown", header_names.SESSION_ID: "header_unusable"}
_METHODS = ("x-http-method-override", "x-http-method", "x-method-override")
_PATHS = ("x-original-url", "x-rewrite-url")  # some servers read these in place of the path
# What `_fields` looks for: most requests have none of it, and so need no closer look.
_WATCHED = frozenset((*_PATHS, *_METHODS, *CHOICES, "transfer-encoding", "upgrade"))
_ODD_NAME = re.compile("_|sec-websocket-")
_BREAK = re.compile(r"[\n\r\0]")
_OWN_SITE = frozenset({"none", "same-origin"})  # values of Sec-Fetch-Site
# Headers that are refused when `_` stands for `-` in the name: some servers read both spellings as one.
_DASHED = {
    *header_names.CREDENTIALS, *header_names.ACCOUNTS, "proxy-authorization", "content-length", "transfer-encoding"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    A request as it came in: its Host, the names of this proxy *here*, whether the connection is *secure* (TLS).

    *target* is the host and port that a client of a proxy named; Host must then equal it.
    """

    method: str
    path: str
    headers: Headers
    host: str
    here: Collection[str]
    secure: bool = False
    target: str = ""


class Guards:
    """The checks of one configuration."""

    def __init__(self, config: Config) -> None:
        self._limits = config.limits
        self._origins = frozenset(origin.lower() for origin in config.allowed_origins)
        self._patterns = tuple(host.lower() for host in config.allowed_hosts)
        self._hosts = {ANYWHERE, *(account.origin.host for account in config.accounts if account.origin)}
        self._dashed = _DASHED | {each.header.lower() for each in config.credential_headers}

    def refusal(self, arrival: Arrival, endpoint: Endpoint) -> Refusal | None:
        """Return why the request of *arrival* is refused; None: it may pass."""
        return (
            self._head(arrival.headers)
            or _fields(arrival.headers, arrival.method, arrival.path, self._dashed)
            or _path(arrival, endpoint)
            or self._host(arrival)
            or self._site(arrival)
            or self._form(arrival.headers, endpoint)
        )

    def too_large(self, headers: Headers) -> Refusal | None:
        """Refuse a body whose Content-Length is above limits.body."""
        said, limit = headers.get("content-length").strip(), self._limits.body
        return body_too_large(limit) if said.isdecimal() and int(said) > limit else None

    def allowed_origin(self, headers: Headers) -> str:
        """Return the origin of the requesting page where the settings allow it."""
        origin = headers.get("origin").strip()
        return origin if origin and self._allows(origin) else ""

    def _head(self, headers: Headers) -> Refusal | None:
        size = sum(map(len, chain.from_iterable(headers.fields))) + 4 * len(headers.fields)
        if len(headers.fields) <= self._limits.header_count and size <= self._limits.header_size:
            return None
        return Refusal(
            431, "head_too_large", "The request has more headers than limits.header_count and limits.header_size allow"
        )

    def _host(self, arrival: Arrival) -> Refusal | None:
        found = _AUTHORITY.fullmatch(arrival.host.strip())
        name = _name(found["host"]) if found else ""
        scheme = "https" if arrival.secure else "http"
        if arrival.target and _with_port(arrival.host.strip().lower(), scheme) != arrival.target:
            return Refusal(403, "host_not_allowed", "The Host of this request is not its target")
        known = is_loopback(name) or name in arrival.here or name in self._hosts
        if name and (known or any(fnmatchcase(name, pattern) for pattern in self._patterns)):
            return None
        return Refusal(
            403, "host_not_allowed", "The Host is no name of this proxy; the setting allowed_hosts adds names"
        )

    def _site(self, arrival: Arrival) -> Refusal | None:
        headers = arrival.headers
        origins = headers.all("origin")
        if origins and all(self._allows(origin.strip()) for origin in origins):
            return None
        # Sec-Fetch-Mode says nothing: Node sends `cors` as well
        sites = all(site.strip().lower() in _OWN_SITE for site in headers.all("sec-fetch-site"))
        if sites and all(_is_requested_host(origin, arrival) for origin in origins):
            return None
        return Refusal(
            403,
            "cross_site",
            "The request comes from a web page of another site; the setting allowed_origins adds pages",
        )

    def _form(self, headers: Headers, endpoint: Endpoint) -> Refusal | None:
        # a page can send it without a preflight; no client of a model does
        kind = media_type(headers.get("content-type"))
        if endpoint.kind != "generation" or kind != "text/plain" or self.allowed_origin(headers):
            return None
        return Refusal(415, "content_type", "A body of type text/plain is not accepted; send application/json")

    def _allows(self, origin: str) -> bool:
        return origin.lower() in self._origins


def body_too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more than *limit* bytes."""
    return Refusal(413, "body_too_large", f"The body is larger than the {limit} bytes of the setting limits.body")


def body_too_deep() -> Refusal:
    """Return the refusal of a body that no parser can read."""
    return Refusal(400, "body_too_deep", "The JSON of the body is nested too deeply to be read")


def _fields(headers: Headers, method: str, path: str, apart: Collection[str]) -> Refusal | None:
    names, values = headers.names(), "".join([value for _, value in headers.fields])
    if _WATCHED.isdisjoint(names) and not (_ODD_NAME.search(" ".join(names)) or _BREAK.search(values)):
        return None
    dashed = ((name, name.replace("_", "-")) for name in headers.names() if "_" in name)
    unusable = chain(
        (name for name in _PATHS for value in headers.all(name) if value.strip() != path),
        # transfer codings but chunked are not decoded here
        ("transfer-encoding" for value in headers.all("transfer-encoding") if value.strip().lower() != "chunked"),
        (name for name in _METHODS for value in headers.all(name) if value.strip().upper() != method),
        (
            name
            for name, plain in dashed
            if (plain in apart and name not in apart) or plain.startswith(header_names.OURS)
        ),
        (name for name in CHOICES if len({value.strip() for value in headers.all(name)}) > 1),
        ["upgrade"] * _upgrades_oddly(headers),
        (name for name, value in headers if _BREAK.search(value)),
    )
    name = next(unusable, None)
    return None if name is None else Refusal(400, "header_unusable", f"The header {name[:64]!a} is ambiguous")


def _upgrades_oddly(headers: Headers) -> bool:
    # a server could open a WebSocket where mitmproxy sees none, and would then pass its bytes unchecked
    asked = tuple(value.strip().lower() for value in headers.all("upgrade"))
    named = any(name.startswith("sec-websocket-") for name in headers.names())
    if not named and not any("websocket" in value for value in asked):
        return False
    return asked != ("websocket",) or headers.all("sec-websocket-version") != ("13",)


def _path(arrival: Arrival, endpoint: Endpoint) -> Refusal | None:
    bare = arrival.path.partition("?")[0]
    if arrival.method == "PRI":  # the begin of HTTP/2 with prior knowledge, read as HTTP/1
        told = "HTTP/2 without TLS is not supported here: use HTTP/1.1, or https:// for HTTP/2"
        return Refusal(400, "path_unusable", told)
    if not arrival.method.isascii():  # read from bytes that are no text; no method has them
        return Refusal(400, "method_unusable", "The method of this request is no word of letters")
    if not bare.startswith("/") or _ODD.search(unquote(bare)):
        return Refusal(400, "path_unusable", "The path of this request is ambiguous")
    joined = _JOINED.match(bare) and (bare.startswith("//") or dialects.endpoint(arrival.method, bare).dialect)
    if joined or dialects.is_ambiguous(arrival.method, bare):
        return Refusal(400, "path_unusable", f"The path of this request is ambiguous{_slash_too_many(arrival)}")
    if mistake := base_urls.endpoint_twice(arrival.method, bare):
        return Refusal(400, "path_unusable", wrong_base_url(mistake, arrival))
    if endpoint.dialect and endpoint.model_source == "unread":
        return Refusal(400, "path_unusable", "The path of this request names a model but no known action")
    return None


def wrong_base_url(mistake: BaseUrlMistake, arrival: Arrival) -> str:
    """Return *mistake* as a sentence that names the base URL to use."""
    return f"The base URL of your tool {mistake.what}: use {_here(arrival)}{mistake.path} as the base URL"


def _here(arrival: Arrival) -> str:
    return f"{'https' if arrival.secure else 'http'}://{arrival.host}"


def _slash_too_many(arrival: Arrival) -> str:
    path = arrival.path.partition("?")[0]
    fixed = _SLASHES.sub("/", path).rstrip("/")
    if fixed == path:
        return ""
    if not dialects.endpoint(arrival.method, fixed).dialect:
        return "; does your base URL end in '/'?"
    before, twice, _ = path.partition("//")
    if twice:
        return f": your base URL ends in '/'; use {_here(arrival)}{before} as the base URL"
    return f": it ends in '/'; use {fixed} behind your base URL"


def _is_requested_host(origin: str, arrival: Arrival) -> bool:
    scheme, mark, authority = origin.strip().lower().partition("://")
    if not mark or scheme != ("https" if arrival.secure else "http"):
        return False
    return _with_port(authority, scheme) == _with_port(arrival.host.strip().lower(), scheme) != ""


def _with_port(authority: str, scheme: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return f"{_name(found['host'])}:{found['port'] or DEFAULT_PORTS[scheme]}" if found else ""


def _name(host: str) -> str:
    return host.strip("[]").lower()
