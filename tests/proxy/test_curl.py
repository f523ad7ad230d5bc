"""A command line that is pasted does what the request did, and shows nothing that a terminal would obey."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from mitmproxy.proxy import mode_specs
from mitmproxy.test import tflow, tutils

from patchbay.credential_places import KeyHeaders
from patchbay.proxy import client_connections, curl

_ARGUMENTS = "curl() { printf '%s\\0' \"$@\"; }\n"


@pytest.fixture(autouse=True, scope="module")
def _listening() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client_connections, "addresses", lambda *_: {"http://127.0.0.1:8080": "base"})
        yield


def line(*, more: tuple[tuple[bytes, bytes], ...] = (), **request: Any) -> str:
    flow = tflow.tflow(req=tutils.treq(method=b"POST", **request))
    flow.request.headers.fields = ((b"user-agent", b"x"), *more)
    flow.client_conn.timestamp_tls_setup = None
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse("reverse:http://patchbay.invalid")
    return curl.command_line(flow, bytes(32), KeyHeaders())


def arguments(text: str) -> list[bytes]:
    """Return what bash gives to curl."""
    done = subprocess.run(
        ["/bin/bash"], input=(_ARGUMENTS + text).encode(), capture_output=True, timeout=30, check=True
    )
    assert done.stderr == b""
    return done.stdout.split(b"\0")[:-1]


_HEADER = st.binary(min_size=1, max_size=20).map(lambda value: re.sub(rb"[\0\r\n]", b"", value).strip() or b"x")


@settings(max_examples=40)
@given(value=_HEADER, query=_HEADER)
@example(value=b"a\x1b[31m\x07'$(id)`id`\\", query=b"{a,b}&y=[1-3]")
@example(value="\x9b31m \u202e \u2028".encode(), query="\u202e\x9b".encode())
@example(value=b"\xff\xfe", query=b"[")
def test_any_header_and_any_query_come_back_from_a_printable_line(value: bytes, query: bytes) -> None:
    text = line(more=((b"x-odd", value), (b"user-agent", value)), path=b"/v1/../x?" + query, content=b"{}")
    found = arguments(text)

    assert text.isprintable()
    assert b"x-odd: " + value in found and b"user-agent: " + value in found
    url = re.sub(rb"[\x01-\x20\x7f]", lambda sign: b"%%%02X" % ord(sign[0]), query)
    assert found[-1] == b"http://127.0.0.1:8080/v1/../x?" + url
    assert {b"--globoff", b"--path-as-is"} <= set(found)


def test_a_name_by_which_curl_would_read_a_file_is_left_out() -> None:
    assert "passwd" not in line(more=((b"@/etc/passwd", b"1"), (b"x y", b"1")), content=b"")


@pytest.mark.parametrize("sign", ["\x1b", "\x07", "\x9b", "\u202e", "\u2028", "\x7f", "\t"])
def test_a_body_with_what_a_terminal_obeys_is_encoded(sign: str) -> None:
    content = f'{{"a": "{sign}"}}'.encode()
    text = line(content=content)

    assert text.isprintable() and base64.b64encode(content).decode() in text


def test_a_body_of_text_stays_readable() -> None:
    content = '{"a": "it\'s\n\u3000„ünï“\u00a0"}'

    assert arguments(line(content=content.encode()))[-2:-1] == [content.encode()]
