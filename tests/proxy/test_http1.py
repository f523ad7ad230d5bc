"""HTTP/1 as it comes: interim heads, trailers and broken framing, at every cut, through the real layer without I/O."""

from __future__ import annotations

import pytest
from mitmproxy.proxy import commands, events

from patchbay.proxy import http1, layer_rig

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nx-a: b\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.0 199\r\n\r\n",
    b"\r\n",
    b"\n\r\n\n",
    b"\r\nHTTP/1.1 103 Early Hints\r\n\r\n\r\n",
)


class _Rig(layer_rig.LayerRig):
    """The one of the self-check, which also says what timers were set, and what was closed."""

    def __init__(self, *, moves: bool = False) -> None:
        self.timers: list[commands.RequestWakeup] = []
        self.closed: list[object] = []
        self.moves = moves
        super().__init__(ready=True)

    def carry_out(self, command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.RequestWakeup):
            self.timers.append(command)
        if isinstance(command, commands.CloseConnection):
            self.closed.append(command.connection)
        return super().carry_out(command)

    def run_hook(self, hook: commands.StartHook) -> None:
        super().run_hook(hook)
        if hook.name == "patchbay_next":
            hook.args()[0].again = self.moves


def asked() -> _Rig:
    rig = _Rig()
    rig.ask()
    rig.taken(rig.server)
    return rig


def down(rig: _Rig, *pieces: bytes) -> bytes:
    assert rig.server is not None
    for piece in pieces:
        rig.feed(events.DataReceived(rig.server, piece))
    return rig.taken(rig.client)


@pytest.mark.slow(every=3)
@pytest.mark.parametrize("interim", INTERIM)
def test_interim_heads_are_dropped_wherever_they_are_cut(interim: bytes) -> None:
    """P3: 100, 102, 103 and blank lines before the answer are not the answer, in one packet with it or in others."""
    together = interim + ANSWER
    for at in range(len(together) + 1):
        told = down(asked(), *filter(None, (together[:at], together[at:])))
        assert told.startswith(b"HTTP/1.1 200 OK\r\n") and told.endswith(b"\r\n\r\nok"), at
        assert told.count(b"HTTP/1.") == 1


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9\r\n", b"hello there", b"\x15\x03\x03\x00\x02\x02\x28", b"\r\nHTTPS"]
)
def test_what_is_no_status_line_fails_at_once_wherever_it_is_cut(said: bytes) -> None:
    """R9: the upstream keeps the connection open, and nobody waits for the end of a head."""
    for at in range(len(said) + 1):
        rig = asked()
        server = rig.server
        down(rig, *filter(None, (said[:at], said[at:])))
        assert server in rig.closed, at


def test_an_empty_line_before_the_status_line_is_none_of_it() -> None:
    """R9: the beginning of a status line is waited for, byte by byte."""
    rig = asked()
    down(rig, *(bytes([byte]) for byte in b"\r\nHTTP/1."))
    assert rig.closed == []


def test_a_switch_of_protocols_that_was_not_asked_for_opens_nothing() -> None:
    """R9, P3: 101 to an ordinary request is refused, and what the client sends next goes nowhere."""
    rig = asked()
    server = rig.server
    down(rig, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
    rig.feed(events.DataReceived(rig.client, b"GET /smuggled HTTP/1.1\r\n\r\n"))
    assert b"smuggled" not in rig.taken(server)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"


def test_trailers_of_an_answer_pass_wherever_they_are_cut() -> None:
    """R16: they come behind the last chunk, without those that would change the framing."""
    together = CHUNKED + b"0\r\nX-Checksum: 1\r\nContent-Length: 7\r\n\r\n"
    for at in range(len(together) + 1):
        rig = asked()
        told = down(rig, *filter(None, (together[:at], together[at:])))
        assert told.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nx-checksum: 1\r\n\r\n"), at
        rig.ask()  # and the connection serves on
        assert down(rig, ANSWER).endswith(b"ok")


def test_a_request_with_trailers_is_answered_wherever_it_is_cut() -> None:
    """R16: chunked, with a trailer."""
    request = (
        b"POST http://t.invalid/ HTTP/1.1\r\nhost: t.invalid\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer sk-of-the-client\r\n\r\n"
    )
    for at in range(1, len(request) + 1):
        rig = _Rig()
        for piece in filter(None, (request[:at], request[at:])):
            rig.feed(events.DataReceived(rig.client, piece))
        up = rig.taken(rig.server)
        assert up.endswith(b"2\r\nHI\r\n0\r\nx-sum: 1\r\n\r\n"), up
        assert b"sk-of-the-client" not in up
        assert down(rig, ANSWER).endswith(b"ok")


BROKEN = {
    "both lengths": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok",
    "no number": b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
    "a bad name": b"HTTP/1.1 200 OK\r\ncontent length: 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\nok",
    "no status": b"HTTP/1.1 OK\r\n\r\nok",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\nok",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a broken chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "a broken end of a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokxx0\r\n\r\n",
    "a huge head": b"HTTP/1.1 200 OK\r\nx: " + b"a" * (http1.HEAD + 1),
    "huge trailers": CHUNKED + b"0\r\nx: " + b"a" * (http1.HEAD + 1),
}  # fmt: skip


@pytest.mark.slow(every=3)
@pytest.mark.parametrize("what", BROKEN)
def test_an_answer_that_cannot_be_trusted_is_never_mitmproxys_page(what: str) -> None:
    """R10: it is a failure of the attempt, and where nobody else answers the client gets an error of ours."""
    data = BROKEN[what]
    cuts = range(0, len(data), max(1, len(data) // 40))
    for at in cuts:
        rig = _Rig()
        rig.ask()
        told = down(rig, *filter(None, (data[:at], data[at:])))
        assert told.startswith(b"HTTP/1.1 502 "), (at, told[:200])
        assert b"text/html" not in told and b'"error"' in told


def test_a_head_that_does_not_come_is_given_up() -> None:
    """R20: 60 seconds from the first byte of a connection on; a connection between two requests may rest."""
    rig = _Rig()
    assert [timer.delay for timer in rig.timers] == [http1.HEAD_SECONDS]
    rig.feed(events.DataReceived(rig.client, b"POST / HT"))
    [timer] = rig.timers
    rig.feed(events.Wakeup(timer))
    assert rig.taken(rig.client).startswith(b"HTTP/1.1 408 ") and rig.closed == [rig.client]


def test_a_head_that_came_in_time_is_not_given_up_later() -> None:
    """R20: neither is a connection that is kept open, until another head begins on it."""
    rig = _Rig()
    rig.ask()
    [timer] = rig.timers
    rig.feed(events.Wakeup(timer))
    down(rig, ANSWER)
    assert rig.closed == []
    rig.feed(events.DataReceived(rig.client, b"P"))
    rig.feed(events.Wakeup(rig.timers[-1]))
    assert len(rig.timers) == 2 and rig.closed == [rig.client]


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    rig = _Rig()
    rig.feed(events.Wakeup(rig.timers[0]))
    rig.ask()  # too late

    assert (rig.taken(rig.client), rig.closed, rig.server, rig.hooks) == (b"", [rig.client], None, [])


def test_a_connection_between_two_requests_may_rest() -> None:
    rig = asked()
    for _ in range(2):
        assert down(rig, ANSWER).endswith(b"ok")
        assert len(rig.timers) == 1 and rig.layer is not None
        rig.ask()


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    rig = asked()
    told = down(rig, b"HTTP/1.1 200 OK\r\n\r\nok")
    assert rig.server
    rig.feed(events.ConnectionClosed(rig.server))

    assert (told + rig.taken(rig.client)).endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert rig.hooks[-1] == "response"


def test_trailers_are_those_of_one_answer() -> None:
    rig = asked()
    assert down(rig, CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n").endswith(b"0\r\nx-sum: 1\r\n\r\n")
    rig.ask()
    assert down(rig, CHUNKED + b"0\r\n\r\n").endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")


def test_a_head_has_a_minute() -> None:
    assert http1.HEAD_SECONDS == 60.0
    rig = _Rig()
    rig.feed(events.DataReceived(rig.client, b"POST / HT"))
    assert [timer.delay for timer in rig.timers] == [60.0]
