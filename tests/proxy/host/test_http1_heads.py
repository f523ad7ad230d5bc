"""Heads are read, checked and looked into as mitmproxy does it itself, its errors included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy import http

from patchbay.proxy.host import http1_heads
from scripts import fuzz_heads


def _told(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except Exception as e:
        return type(e), str(e)


@given(st.integers(0, 1 << 30))
def test_heads_whole_and_damaged_are_read_alike(seed: int) -> None:
    assert fuzz_heads.run(100, seed) == []


def test_a_difference_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: object) -> http.Headers:
        return http.Headers()

    for name in ("_read_headers", "_get_all", "_validate_headers", "_expected_http_body_size", "_parse_authority"):
        with monkeypatch.context() as patch:
            patch.setattr(http1_heads, name, wrong)
            assert fuzz_heads.run(200, 1)


@pytest.mark.parametrize("name", [7, None, ["host"], "\ud800", b"HOST", "Host"])
@pytest.mark.parametrize("way", ["get", "get_all", "contains", "getitem"])
def test_any_name_is_looked_up_alike(way: str, name: Any) -> None:
    headers = http.Headers([(b"Host", b"a"), (b"hOST", b"b")])
    ours = {
        "get": http1_heads._get, "get_all": http1_heads._get_all, "contains": http1_heads._contains,
        "getitem": http1_heads._getitem,
    }[way]  # fmt: skip

    assert _told(lambda: ours(headers, name)) == _told(lambda: http1_heads._THEIRS[way](headers, name))


def test_a_default_is_given_for_what_is_not_there() -> None:
    assert http1_heads._get(http.Headers(), "host", 7) == 7
    assert http1_heads._get(http.Headers([(b"host", b"")]), "host", 7) == ""


@pytest.mark.parametrize("kind", [http.RequestData, http.ResponseData])
@pytest.mark.parametrize("value", [b"b", "s", 1, 1.5, None, True, http.Headers(), (), object()])
def test_the_types_of_what_others_make_are_checked_alike(kind: type, value: object) -> None:
    sound: Any = http.Request.make("GET", "http://a/") if kind is http.RequestData else http.Response.make()
    for name in vars(sound.data):
        held = object.__new__(kind)
        held.__dict__.update(vars(sound.data) | {name: value})
        assert _told(lambda h=held: http1_heads._check_types(h)) == _told(  # type: ignore[misc]
            lambda h=held: http1_heads._THEIRS["types"](h)  # type: ignore[misc]
        )


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3 * http1_heads._NAMES):
        http1_heads._validate_headers(http.Request.make("GET", "http://a/", headers={f"x-{number}": "1"}))
    http1_heads._validate_headers(http.Request.make("GET", "http://a/", headers={"x" * 5000: "1"}))

    assert len(http1_heads._valid_names) <= http1_heads._NAMES
    assert max(map(len, http1_heads._valid_names)) <= http1_heads._LONGEST
