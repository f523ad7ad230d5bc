"""Uploads stream through: known by their head, under the account's key, in flat memory, sent again only when unsent."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import httpx
import pytest

from ..ports import free_port
from .harness import Proxy, eventually, proxy
from .test_no_key_anywhere import client_of
from .tunnel import stop_listening

CLIENT = "sk-client-of-an-upload-0123456789"
KEYS = {name: f"sk-real-{name}-0123456789abcdef" for name in ("one", "two")}
MEGABYTE = 1024 * 1024
PIECE = bytes(range(256)) * 256


@dataclass
class Taken:
    """One upload as a sink got it."""

    head: bytes
    size: int = 0
    digest: str = ""
    whole: bool = False

    def header(self, name: str) -> str:
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return next((value.strip().decode() for key, _, value in lines if key.lower() == name.encode()), "")


@dataclass
class Sink:
    """A provider of files that keeps nothing but the size. *resets_at*: bytes after which it hangs up."""

    status: int = 200
    resets_at: int = 0
    taken: list[Taken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError, ValueError):
            while head := b"".join(takewhile(lambda line: line.strip(), iter(stream.readline, b""))):
                upload = Taken(head)
                self.taken.append(upload)
                digest = hashlib.sha256()
                for piece in self._body(upload, stream):
                    upload.size += len(piece)
                    digest.update(piece)
                    if self.resets_at and upload.size >= self.resets_at:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                upload.digest, upload.whole = digest.hexdigest(), True
                said = {"id": f"file-{len(self.taken)}", "object": "file"} if self.status < 400 else {"error": "no"}
                answer = json.dumps(said).encode()
                connection.sendall(
                    b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (self.status, len(answer), answer)
                )

    def _body(self, upload: Taken, stream: object) -> Iterator[bytes]:
        read, line = stream.read, stream.readline  # type: ignore[attr-defined]
        left = int(upload.header("content-length") or 0)
        while left:
            piece = read(min(left, 65536))
            if not piece:
                raise ValueError("it ends early")
            left -= len(piece)
            yield piece
        while upload.header("transfer-encoding") and (size := int(line(), 16)):
            yield read(size)
            line()

    def close(self) -> None:
        stop_listening(self._socket, self._thread)


@pytest.fixture
def sink() -> Iterator[Sink]:
    running = Sink()
    yield running
    running.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Sink]]:
    """A proxy with one account, for what leaves it as it was."""
    upstream = Sink()
    with one_port(tmp_path_factory.mktemp("plain"), upstream.port) as running:
        yield running, upstream
    upstream.close()


def settings(folder: Path, *ports: int, more: str = "") -> str:
    accounts = "\n".join(
        f"  - {{id: {name}, provider: generic, base_url: 'http://127.0.0.1:{port}', key: {KEYS[name]}}}"
        for name, port in zip(KEYS, ports, strict=False)
    )
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\nstrategy: fill_first\n"
        f"{more}\naccounts:\n{accounts}\n"
    )


def one_port(folder: Path, *ports: int, more: str = "") -> AbstractContextManager[Proxy]:
    return proxy(folder, settings(folder, *ports, more=more), mode="reverse:http://patchbay.invalid")


def content(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes * MEGABYTE // len(PIECE)):
        yield PIECE


def digest(megabytes: int) -> str:
    whole = hashlib.sha256()
    for piece in content(megabytes):
        whole.update(piece)
    return whole.hexdigest()


def send(running: Proxy, megabytes: int, path: str = "/v1/files", **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {CLIENT}", "content-type": "multipart/form-data; boundary=x", **headers}
    return httpx.post(running.url + path, content=content(megabytes), headers=sent, timeout=60, trust_env=False)


def peak(running: Proxy) -> float:
    """Return the most memory that the proxy has had, in MB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_hundred_megabytes_pass_in_flat_memory(plain: tuple[Proxy, Sink], framing: str) -> None:
    running, sink = plain
    assert send(running, 2).status_code == 200
    before = peak(running)
    answer = send(running, 100, **({"content-length": str(100 * MEGABYTE)} if framing == "length" else {}))
    grown = peak(running) - before
    print(f"100 MB, {framing}: the proxy grew by {grown:.1f} MB")

    upload = sink.taken[-1]
    assert answer.status_code == 200
    assert answer.json()["id"] == f"file-{len(sink.taken)}"
    assert (upload.size, upload.digest) == (100 * MEGABYTE, digest(100))
    assert upload.header("authorization") == f"Bearer {KEYS['one']}"
    assert upload.header("host") == f"127.0.0.1:{sink.port}"
    assert bool(upload.header("content-length")) == (framing == "length")
    assert CLIENT.encode() not in upload.head
    assert grown < 30
    assert eventually(lambda: running.journal.count("\n") >= len(sink.taken))
    assert json.loads(running.journal.splitlines()[-1])["account"] == "one"


def test_what_was_not_sent_goes_to_the_next_account(tmp_path: Path, sink: Sink) -> None:
    with one_port(tmp_path, free_port(), sink.port) as running:
        answer = send(running, 5, "/v1/audio/transcriptions")  # on one port, files go to one provider

    assert answer.status_code == 200
    assert (sink.taken[-1].size, sink.taken[-1].digest) == (5 * MEGABYTE, digest(5))
    assert sink.taken[-1].header("authorization") == f"Bearer {KEYS['two']}"
    (line,) = [json.loads(line) for line in running.journal.splitlines()]  # all of it: the proxy has ended
    assert [tried["account"] for tried in line["attempts"]] == ["one", "two"]


@pytest.mark.parametrize(("path", "status"), [("/v1/files", 500), ("/v1/audio/transcriptions", 429)])
def test_what_was_sent_is_not_sent_again(tmp_path: Path, sink: Sink, path: str, status: int) -> None:
    sink.status = status
    other = Sink()
    with one_port(tmp_path, sink.port, other.port) as running:
        answer = send(running, 5, path)
    other.close()

    assert answer.status_code == status
    assert answer.json() == {"error": "no"}
    assert len(sink.taken) == 1
    assert other.taken == []


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/files", "code"), ("/upload/v1beta/files", "status"), ("/v1/audio/transcriptions", "code")],
)
def test_an_upload_that_is_broken_off_is_an_error_in_the_caller_s_words(
    tmp_path: Path, sink: Sink, path: str, shape: str
) -> None:
    sink.resets_at = MEGABYTE
    other = Sink()
    with one_port(tmp_path, sink.port, other.port) as running:
        answer = send(running, 20, path)
        sink.resets_at = 0
        again = send(running, 5, path)
    other.close()

    assert answer.status_code == 502
    assert shape in answer.json()["error"]
    assert not any(upload.size > 5 * MEGABYTE for upload in other.taken)
    assert again.status_code == 200


def test_where_nobody_can_be_reached_the_caller_is_told_in_its_words(tmp_path: Path) -> None:
    with one_port(tmp_path, free_port(), free_port()) as running:
        answer = send(running, 5)
        after = send(running, 5, "/upload/v1beta/files")

    assert answer.status_code in (502, 503)
    assert answer.json()["error"]["code"]
    assert "status" in after.json()["error"]


def test_http2_without_a_length_gets_an_end_on_http1(plain: tuple[Proxy, Sink]) -> None:
    """Otherwise the upstream would read what is uploaded as its next request."""
    running, sink = plain
    sink.taken.clear()
    with client_of(running, http2=True) as client:
        headers = {"authorization": f"Bearer {CLIENT}", "content-type": "application/octet-stream"}
        large = client.post("/v1/files", content=content(5), headers=headers)
        buffered = client.post("/v1/chat/completions", content=iter([b'{"model":', b'"m"}']), headers=headers)

    assert (large.status_code, large.http_version, buffered.status_code) == (200, "HTTP/2", 200)
    assert sink.taken[0].header("transfer-encoding") == "chunked"
    assert [(upload.size, upload.whole) for upload in sink.taken] == [(5 * MEGABYTE, True), (13, True)]


def test_a_client_that_leaves_takes_its_upload_along(plain: tuple[Proxy, Sink]) -> None:
    running, sink = plain
    sink.taken.clear()
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {CLIENT}\r\nX-Request-ID: leaving\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {50 * MEGABYTE}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port), 30) as leaving:
        leaving.sendall(head.encode() + PIECE * 8)
        assert eventually(lambda: bool(sink.taken) and sink.taken[0].size > 0)
    assert eventually(lambda: '"leaving"' in running.journal)

    (line,) = [line for line in running.journal.splitlines() if '"leaving"' in line]
    assert json.loads(line)["error"]
    assert not sink.taken[0].whole
    assert send(running, 2).status_code == 200


def test_a_small_upload_is_read_like_any_other_body(plain: tuple[Proxy, Sink]) -> None:
    running, sink = plain
    answer = httpx.post(
        f"{running.url}/v1/files",
        files={"file": ("a.jsonl", b"{}")},
        data={"purpose": "batch"},
        headers={"authorization": f"Bearer {CLIENT}"},
        trust_env=False,
        timeout=30,
    )

    assert answer.status_code == 200
    assert sink.taken[-1].whole


def test_an_upload_without_a_client_key_is_refused_unread(tmp_path: Path, sink: Sink) -> None:
    more = "clients: [{name: ann, key: example-client-ann}]"
    with one_port(tmp_path, sink.port, more=more) as running:
        before = peak(running)
        refused = send(running, 100)
        grown = peak(running) - before
        allowed = send(running, 2, authorization="Bearer example-client-ann")

    assert refused.status_code == 401
    assert allowed.status_code == 200
    assert grown < 20
    assert len(sink.taken) == 1
