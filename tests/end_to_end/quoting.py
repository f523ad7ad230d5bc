"""An upstream that quotes the key it gets: the ways to do so, and the server that is told in which by a header."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import socketserver
import struct
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from urllib.parse import quote

import brotli  # type: ignore[import-untyped]
from backports import zstd

Way = Callable[[str], list[bytes]]  # the key → what is sent, piece by piece; then the connection is closed


def _answer(
    body: bytes, status: str = "200 OK", kind: str = "application/json", *more: bytes, length: bool = True
) -> bytes:
    head = [f"HTTP/1.1 {status}".encode(), b"content-type: " + kind.encode(), *more]
    head += [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join((*head, b"", body))


def _chunked(*pieces: bytes) -> list[bytes]:
    return [*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece), b"0\r\n\r\n"]


def _error(text: str) -> bytes:
    return f'{{"error": {{"message": "Incorrect key: {text}", "type": "x"}}}}'.encode("latin-1")


def _completion(text: str, name: str = "chatcmpl-1") -> bytes:
    message = f'{{"role": "assistant", "content": "{text}"}}'
    return (
        f'{{"id": "{name}", "object": "chat.completion", "choices": [{{"index": 0, "message": {message}}}]}}'.encode()
    )


def _events(text: str, name: str = "chatcmpl-1") -> bytes:
    start = (
        f'data: {{"id": "{name}", "object": "chat.completion.chunk", "choices": [{{"index": 0, "delta": {{"content": '
    )
    return f'{start}"hello"}}}}]}}\n\n{start}"{text}"}}}}]}}\n\ndata: [DONE]\n\n'.encode()


def _sse(data: bytes) -> list[bytes]:
    return [_answer(data, "200 OK", "text/event-stream")]


def _each(form: str) -> Callable[[str], str]:
    return lambda key: "".join(form.format(ord(char)) for char in key)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": _each("\\u{0:04x}"),
    "json upper": _each("\\u{0:04X}"),
    "json partly": lambda key: key[:9] + _each("\\u{0:04x}")(key[9:12]) + key[12:],
    "json in json": lambda key: _each("\\u{0:04x}")(key).replace("\\", "\\\\"),
    "url": _each("%{0:02x}"),
    "url upper": _each("%{0:02X}"),
    "url twice": lambda key: quote(_each("%{0:02X}")(key)),
    "html": _each("&#{0};"),
    "html hex": _each("&#x{0:X};"),
    "base64": lambda key: b64encode(b"user:" + key.encode()).decode(),
    "base64 url": lambda key: b64encode(b"a" + key.encode()).decode().replace("+", "-").replace("/", "_"),
    "hex": lambda key: key.encode().hex(),
    "python": _each("\\x{0:02x}"),
    "octal": _each("\\{0:03o}"),
    "octal in json": _each("\\\\{0:03o}"),
    "perl": _each("\\x{{{0:x}}}"),
    "html with zeros": _each("&#{0:09d};"),
    "url three times": lambda key: quote(quote(_each("%{0:02X}")(key))),
    "numbers": lambda key: ", ".join(map(str, key.encode())),
}
PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda data: zlib.compress(data)[2:-4]),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "gzip in br": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "hex": ("hex", lambda data: data.hex().encode()),
    "bz2": ("bz2", lambda data: __import__("bz2").compress(data)),
    "rot13": ("rot13", lambda data: data),
    "utf-16": ("utf-16", lambda data: data.decode("latin-1").encode("utf-16")),
    "charset": ("utf-8", bytes),
    "not what it says": ("gzip", bytes),
    "cut short": ("gzip", lambda data: gzip.compress(data)[:-6]),
}


def _single(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


HEADS: dict[str, Way] = {
    "reason": lambda key: [_answer(b"{}", f"200 {key}")],
    "reason of an error": lambda key: [_answer(b"{}", f"401 {key}")],
    "reason, escaped": lambda key: [_answer(b"{}", f"403 {_each('%{0:02x}')(key)}")],
    "a status that is none": lambda key: [b"HTTP/1.1 " + key.encode() + b" OK\r\n\r\n"],
    "an early hint": lambda key: [
        b"HTTP/1.1 103 " + key.encode() + b"\r\nlink: <" + key.encode() + b">\r\n\r\n" + _answer(b"{}")],
    "a folded value": lambda key: [_answer(b"{}", "200 OK", "x/y", b"x-a: a\r\n " + key.encode())],
    "a scheme in a value": lambda key: [_answer(b"{}", "401 No", "x/y", b"www-authenticate: Bearer%20" + key.encode())],
    "a version": lambda key: [b"HTTP/" + key.encode() + b" 200 OK\r\n\r\n"],
    "a line that is none": lambda key: [key.encode() + b"\r\n\r\n"],
    "half a head": lambda key: [b"HTTP/1.1 200 OK\r\nx-key: " + key.encode()],
    "half a status line": lambda key: [b"HTTP/1.1 200 " + key.encode()],
    "a value": lambda key: [_answer(b"{}", "200 OK", "application/json", b"x-key: " + key.encode())],
    "a value, escaped": lambda key: [_answer(b"{}", "200 OK", "text/plain", b"x: " + quote(key * 2).encode())],
    "a name": lambda key: [_answer(b"{}", "200 OK", "application/json", key.encode() + b": 1")],
    "a name in capitals": lambda key: [_answer(b"{}", "200 OK", "application/json", key.upper().encode() + b": 1")],
    "a line without a colon": lambda key: [_answer(b"{}", "200 OK", "application/json", key.encode())],
    "an id": lambda key: [_answer(b"{}", "200 OK", "application/json", b"x-request-id: " + key.encode())],
    "an id of an error": lambda key: [_answer(b"{}", "500 No", "application/json", b"request-id: " + key.encode())],
    "a cookie": lambda key: [_answer(b"{}", "200 OK", "text/html", b"set-cookie: key=" + key.encode())],
    "a place": lambda key: [_answer(b"", "307 No", "text/html", b"location: /?key=" + key.encode())],
    "a challenge": lambda key: [_answer(b"{}", "401 No", "text/html", b"www-authenticate: x=" + key.encode())],
    "retry-after": lambda key: [_answer(b"{}", "429 No", "application/json", b"retry-after: " + key.encode())],
    "a type": lambda key: [_answer(b"{}", "200 OK", key)],
    "a length": lambda key: [_answer(b"{}", "200 OK", "x/y", b"content-length: " + key.encode(), length=False)],
    "a transfer coding": lambda key: [_answer(b"{}", "200 OK", "x/y", b"transfer-encoding: " + key.encode())],
    "a coding": lambda key: [_answer(b"{}", "200 OK", "x/y", b"content-encoding: " + key.encode())],
    "a coding of an error": lambda key: [_answer(b"{}", "400 No", "x/y", b"content-encoding: " + key.encode())],
    "server-timing": lambda key: [_answer(b"{}", "200 OK", "x/y", b"server-timing: " + key.encode())],
    "a model in the head": lambda key: [_answer(b"{}", "200 OK", "x/y", b"openai-model: " + key.encode())],
    "switched protocols": lambda key: [b"HTTP/1.1 101 OK\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + key.encode()],
    "behind the answer": lambda key: [_answer(b"{}"), key.encode()],
    "trailers": lambda key: [
        _answer(b"", "200 OK", "text/plain", b"transfer-encoding: chunked", b"trailer: x-key", length=False),
        b"2\r\nhi\r\n0\r\nx-key: " + key.encode() + b"\r\n\r\n",
    ],
    "a chunk's extension": lambda key: [
        _answer(b"", "200 OK", "text/plain", b"transfer-encoding: chunked", length=False),
        b"2;key=" + key.encode() + b"\r\nhi\r\n0\r\n\r\n",
    ],
    "a chunk that is none": lambda key: [
        _answer(b"", "200 OK", "text/plain", b"transfer-encoding: chunked", length=False),
        key.encode() + b"\r\nhi\r\n0\r\n\r\n",
    ],
}  # fmt: skip
BODIES: dict[str, Way] = {
    "an id": lambda key: [_answer(_completion("hi", key))],
    "the text": lambda key: [_answer(_completion(f"your key is {key}."))],
    "an id of events": lambda key: _sse(_events("hi", key)),
    "the text of events": lambda key: _sse(_events(key)),
    "the name of an event": lambda key: _sse(f"event: {key}\ndata: {{}}\n\n".encode()),
    "an id among events": lambda key: _sse(f"id: {key}\nretry: {key}\n{key}: x\n\n".encode() + _events("hi")),
    "a line among events": lambda key: _sse(f"{key}\r\rdata: {key}".encode()),
    "a comment among events": lambda key: _sse(f": {key}\n\n".encode() + _events("hi")),
    "an error among events": lambda key: _sse(_events("hi") + b"data: " + _error(key)),
    "binary": lambda key: [_answer(b"\xff\x00" + key.encode() + b"\x00", "200 OK", "audio/mpeg")],
    "UTF-16": lambda key: [_answer(key.encode("utf-16"), "200 OK", "text/plain; charset=utf-16")],
    "cut off in it": lambda key: [
        _answer(b"", "200 OK", "text/plain", b"content-length: 999", length=False), key[:-2].encode()],
    "up to the end of the connection": lambda key: [_answer(key.encode(), "200 OK", "text/plain", length=False)],
    **{f"an error {status}": lambda key, status=status: [_answer(_error(key), f"{status} No")]  # type: ignore[misc]
       for status in (400, 401, 403, 404, 429, 500, 529)},
    **{f"{name}, an error": lambda key, spell=spell: [_answer(_error(spell(key)), "401 No")]  # type: ignore[misc]
       for name, spell in SPELLINGS.items()},
    **{f"{name}, an answer": lambda key, spell=spell: [_answer(_completion(spell(key)))]  # type: ignore[misc]
       for name, spell in SPELLINGS.items()},
    **{f"{name}, a chunk for every byte": lambda key, spell=spell: [  # type: ignore[misc]
           _answer(b"", "200 OK", "text/event-stream", b"transfer-encoding: chunked", length=False),
           *_chunked(*_single(_events(spell(key))))]
       for name, spell in SPELLINGS.items()},
    **{f"packed as {name}, status {status}": lambda key, coding=coding, pack=pack, status=status: [  # type: ignore[misc]
           _answer(pack(_error(key) if status > 200 else _completion(key)), f"{status} X", "application/json",
                   b"content-encoding: " + coding.encode())]
       for name, (coding, pack) in PACKINGS.items() for status in (200, 401, 500)},
    **{f"packed as {name}, events": lambda key, coding=coding, pack=pack: [  # type: ignore[misc]
           _answer(b"", "200 OK", "text/event-stream", b"transfer-encoding: chunked",
                   b"content-encoding: " + coding.encode(), length=False),
           *_chunked(*_single(pack(_events(key))))]
       for name, (coding, pack) in PACKINGS.items()},
    "transferred as gzip": lambda key: [
        _answer(b"", "200 OK", "application/json", b"transfer-encoding: gzip, chunked", length=False),
        *_chunked(gzip.compress(_completion(key)))],
}  # fmt: skip


def _frame(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
    return bytes((kind | (0x80 if final else 0),)) + size + payload


def _deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    frame = _frame(1, packed[:-4])
    return bytes((frame[0] | 0x40,)) + frame[1:]


SOCKETS: dict[str, Way] = {
    "a message": lambda key: [_frame(1, _error(key))],
    "a message, escaped": lambda key: [_frame(1, _error(SPELLINGS["json"](key)))],
    "a binary message": lambda key: [_frame(2, _error(key))],
    "fragments": lambda key: [_frame(1, b"{", final=False), *(_frame(0, b, final=False) for b in _single(key.encode())),
                              _frame(0, b"}")],
    "fragments that do not end": lambda key: [_frame(1, key.encode(), final=False)],
    "a reason": lambda key: [_frame(8, struct.pack("!H", 1008) + b"bad key " + key.encode())],
    "a reason, escaped": lambda key: [_frame(8, struct.pack("!H", 4001) + SPELLINGS["hex"](key).encode()[:120])],
    "a ping": lambda key: [_frame(9, key.encode())],
    "a pong": lambda key: [_frame(10, b"x" + key.encode())],
    "a ping, escaped": lambda key: [_frame(9, SPELLINGS["base64"](key).encode())],
    "a packed message that was not offered": lambda key: [_deflated(_error(key))],
    "a frame that is none": lambda key: [b"\xf3\x10" + key.encode()],
    "text that is no text": lambda key: [_frame(1, b"\xff" + key.encode())],
}  # fmt: skip
WAYS: dict[str, Way] = {
    **{f"head: {name}": way for name, way in HEADS.items()},
    **{f"body: {name}": way for name, way in BODIES.items()},
    **{f"socket: {name}": way for name, way in SOCKETS.items()},
}


@dataclass
class Quoting:
    """The running server. *keys*: those that came to it."""

    port: int
    keys: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def quoting_upstream(ways: dict[str, Way] | None = None) -> Iterator[Quoting]:
    """Run the server; a request says in `x-way` which of *ways* is meant."""
    found = Quoting(0)
    table = WAYS if ways is None else ways

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (line := self.rfile.readline()):
                head += line
            fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:-2])
            fields = {name.lower(): value for name, value in fields.items()}
            self.rfile.read(int(fields.get("content-length", 0)))
            key = fields["authorization"].removeprefix("Bearer ")
            found.keys.add(key)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            if "sec-websocket-key" in fields:
                self._upgrade(fields["sec-websocket-key"])
            try:
                for piece in table[fields["x-way"]](key):
                    self.wfile.write(piece)
                if "sec-websocket-key" in fields:
                    time.sleep(0.1)  # what came must have passed before the end does
                    self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

        def _upgrade(self, name: str) -> None:
            self.wfile.write(upgraded(name))
            self.rfile.read(6)  # the first message

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join(30)


def upgraded(name: str) -> bytes:
    """Return the head that takes the upgrade whose key is *name*."""
    accept = b64encode(sha1((name + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: "
        + accept + b"\r\n\r\n"
    )  # fmt: skip


def ask(port: int, way: str) -> bytes:
    """Ask a proxy at *port* for an answer that quotes in *way*, and return every byte of what comes."""
    is_socket = way.startswith("socket")
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": way}], "stream": "event" in way}).encode()
    head = [f"x-way: {way}", "host: localhost", "authorization: Bearer client"]
    if is_socket:
        head = ["GET /v1/responses HTTP/1.1", *head, "upgrade: websocket", "connection: upgrade"]
        head += ["sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="]
        head += ["sec-websocket-extensions: permessage-deflate; client_max_window_bits"]
        body = b""
    else:
        head = ["POST /v1/chat/completions HTTP/1.1", *head, f"content-length: {len(body)}", "connection: close"]
        head += ["content-type: application/json"]
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.settimeout(30)
        connection.sendall("\r\n".join((*head, "", "")).encode() + body)
        pieces: list[bytes] = []
        if is_socket:
            head_of_answer = b""
            while b"\r\n\r\n" not in head_of_answer and (data := connection.recv(65536)):
                head_of_answer += data
            pieces.append(head_of_answer)
            if b" 101 " in head_of_answer[:20]:
                connection.sendall(b"\x81\x80\x00\x00\x00\x00")  # an empty message, masked
        with contextlib.suppress(ConnectionResetError):
            pieces += iter(partial(connection.recv, 65536), b"")
    return b"".join(pieces)


def payloads(data: bytes) -> bytes:
    """Return what the frames behind the head of *data* carry, joined."""
    frames, out = data.partition(b"\r\n\r\n")[2], b""
    while len(frames) > 1:
        size, at = frames[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(frames[2:4]), 4
        out, frames = out + frames[at : at + size], frames[at + size :]
    return out
