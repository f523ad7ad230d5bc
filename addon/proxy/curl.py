"""A flow as a command line for a shell: through this proxy, in the same conversation, on the same account."""

from __future__ import annotations

import base64
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.proxy import mode_specs

from .. import credential_places, stand_in_key
from ..credential_places import KeyHeaders
from ..values import header_names
from . import client_connections, flow_metadata as names, message_content, stored_flows
from .control_socket import ControlFailed

# They belong to the connection or to the body's transfer; curl makes its own.
_OF_TRANSFER = frozenset(
    ("host", "content-length", "content-encoding", "transfer-encoding", "connection", "accept-encoding", "expect",
     "keep-alive", "proxy-connection", "te", "trailer", "upgrade", header_names.ACCOUNT.lower())
)  # fmt: skip
_ARGUMENT = 32_768  # bytes of a body that stands in an argument: a shell passes at most 128 KiB in one
_BLANKS = re.compile(r"[\n\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # harmless, and not printable to Python
_NO_URL = re.compile(r"[\x00-\x20\x7f]")  # curl refuses them in a URL
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # the name of a header; for another one (`@…`) curl reads a file
# What curl must not do with a URL: read `{a,b}` and `[1-9]` as several, take `..` out.
_AS_IT_IS = ("--globoff", "--path-as-is")
_ADDED_BY_CURL = ("user-agent", "accept", "content-type")  # where a request has none


def command_line(flow: http.HTTPFlow, secret: bytes, places: KeyHeaders) -> str:
    """
    Return what sends the request of *flow* again; *secret* is the master key, *places* are the headers of keys.

    Raises ControlFailed.
    """
    if flow.websocket or "websocket" in flow.request.headers.get("upgrade", "").lower():
        raise ControlFailed("a WebSocket has no command line: replay a request that was sent by HTTP")
    content = message_content.content(flow.request, message_content.KEPT)
    key = stand_in_key.issued(stored_flows.client(flow), stored_flows.scope(flow) or b"", secret, time.time())
    account = names.text(flow.metadata, names.ACCOUNT)
    parts = [
        "curl",
        "-sS",
        "--no-buffer",
        "--compressed",
        *_AS_IT_IS,
        *_way(flow),
        *_method(flow.request.method, content),
    ]
    for name, value in (*_headers(flow.request, key, places), *_pin(account)):
        parts += ["-H", _quoted(f"{name}: {value}" if value else f"{name};")]
    for name in _ADDED_BY_CURL:
        parts += [] if name in flow.request.headers else ["-H", f"{name}:"]
    before, data = _data(content)
    url = _NO_URL.sub(lambda found: f"%{ord(found[0]):02X}", _url(flow, key))
    return f"{before}{' '.join([*parts, *data, _quoted(url)])}"


def _quoted(text: str) -> str:
    """Return *text* for bash or zsh: what a terminal would act upon, and bytes that are no text, as numbers."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_numbered, text))}'"


def _numbered(sign: str) -> str:
    if sign.isprintable() and sign not in "'\\":
        return sign
    return "".join(f"\\{byte:03o}" for byte in sign.encode("utf-8", "surrogateescape"))


def _method(method: str, content: bytes) -> Sequence[str]:
    if method == "HEAD":
        return ("-I",)
    return () if method == ("POST" if content else "GET") else ("-X", _quoted(method))


def _pin(account: str) -> Iterator[tuple[str, str]]:
    if account:
        yield header_names.ACCOUNT, account


def _headers(request: http.Request, key: str, places: KeyHeaders) -> Iterator[tuple[str, str]]:
    """Yield the headers of *request* with *key* in place of its client's; what else was covered is left out."""
    keyed = bool(credential_places.in_query(request.path))
    for name, value in request.headers.items(multi=True):
        lower = name.lower()
        if lower in _OF_TRANSFER or not _TOKEN.fullmatch(name):
            continue
        if lower in places:
            yield name, f"{places.prefix(lower)}{key}"
            keyed = True
        elif not stored_flows.is_placeholder(value):
            yield name, value
    if not keyed:
        yield "authorization", f"Bearer {key}"


def _data(content: bytes) -> tuple[str, list[str]]:
    """Return what stands before `curl` for a body of *content*, and the arguments about it."""
    if not content:
        return "", []
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if not _BLANKS.sub("", text).isprintable() or not text:
        return f"printf %s {base64.b64encode(content).decode()} | base64 -d | ", ["--data-binary", "@-"]
    if len(content) > _ARGUMENT or text.startswith("@"):
        return f"printf %s {shlex.quote(text)} | ", ["--data-binary", "@-"]  # printf is no program, so no bound holds
    return "", ["--data-raw", shlex.quote(text)]


# -- the way through this proxy ---------------------------------------------------------------------------------------


def _way(flow: http.HTTPFlow) -> list[str]:
    mode, tls = flow.client_conn.proxy_mode, flow.request.scheme == "https"
    if isinstance(mode, mode_specs.ReverseMode):
        return ["--cacert", _authority()] if flow.client_conn.tls_established else []
    through = ["--proxy", _listener(flow)] if isinstance(mode, mode_specs.RegularMode | mode_specs.UpstreamMode) else []
    return [*through, *(["--cacert", _authority()] if tls else [])]


def _url(flow: http.HTTPFlow, key: str) -> str:
    request = flow.request
    path = request.path
    if credential_places.in_query(path):
        path = credential_places.with_key(credential_places.without_key(path), key)
    if isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
        return f"{_listener(flow)}{path}"
    return f"{request.scheme}://{request.pretty_host}:{request.port}{path}"


def _listener(flow: http.HTTPFlow) -> str:
    """Return the URL of the open listener that *flow* came to, or of one of its kind: it may be of another process."""
    mode, at = flow.client_conn.proxy_mode, flow.client_conn.sockname
    alike = list(client_connections.addresses(mode) or client_connections.addresses())
    there = next((url for url in alike if at and url.endswith(f":{at[1]}")), "")
    scheme = "https" if isinstance(mode, mode_specs.ReverseMode) and flow.client_conn.tls_established else "http"
    found = there or next(iter(alike), f"http://{at[0]}:{at[1]}" if at else "")
    if not found:
        raise ControlFailed("no listener is open, so no command line leads through this proxy")
    return found.replace("http", scheme, 1)


def _authority() -> str:
    return _quoted(str(Path(ctx.options.confdir).expanduser() / "mitmproxy-ca-cert.pem"))
