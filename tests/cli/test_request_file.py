from __future__ import annotations

import pytest

from patchbay.cli.request_file import read, split
from patchbay.values.http import Origin


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_raw_http_is_read(end: str) -> None:
    text = f"post /v1/x?a=1 HTTP/1.1{end}X-One: 1{end}x-two:2{end}{end}{{}}\n"
    found = read(text.encode())

    assert (found.method, found.path, found.body, found.destination) == ("POST", "/v1/x?a=1", b"{}", None)
    assert [found.headers.all(name) for name in ("x-one", "x-two")] == [("1",), ("2",)]


def test_a_body_with_a_length_keeps_its_end() -> None:
    assert read(b"POST /x\ncontent-length: 3\n\n{}\n").body == b"{}\n"


@pytest.mark.parametrize(
    ("text", "method", "body"),
    [
        ('{"path": "/x"}', "POST", b""),
        ('{"path": "/x", "method": "get", "body": {"a": 1}}', "GET", b'{"a": 1}'),
        ('{"path": "/x", "body": "as it is"}', "POST", b"as it is"),
        ('{"path": "/x", "body": {}, "body_raw": "raw"}', "POST", b"raw"),
    ],
)
def test_json_is_read(text: str, method: str, body: bytes) -> None:
    found = read(text.encode())

    assert (found.method, found.path, found.body) == (method, "/x", body)


def test_headers_of_json_may_have_several_values() -> None:
    headers = read(b'{"path": "/x", "headers": {"a": ["1", 2], "b": "3"}}').headers

    assert [headers.all(name) for name in "ab"] == [("1", "2"), ("3",)]


@pytest.mark.parametrize(
    ("target", "path", "origin"),
    [
        ("/v1/x?a", "/v1/x?a", None),
        ("https://API.example/v1?k=v", "/v1?k=v", Origin("https", "api.example", 443)),
        ("http://box:8000", "/", Origin("http", "box", 8000)),
    ],
)
def test_an_absolute_url_is_split(target: str, path: str, origin: Origin | None) -> None:
    assert split(target) == (path, origin)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "not JSON"),
        ("{}", "no member `path`"),
        ('{"path": 1}', "no member `path`"),
        ('{"path": "/", "headers": [1]}', "`headers` is not an object"),
        ("POST", "neither JSON nor HTTP"),
        ("POST v1", "neither JSON nor HTTP"),
        ("", "neither JSON nor HTTP"),
    ],
)
def test_another_text_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        read(text.encode())
