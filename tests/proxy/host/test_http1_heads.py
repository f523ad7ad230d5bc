"""Heads are read, checked and looked into as mitmproxy does it itself, its errors included."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
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


class First(http.Headers):
    """Headers of an addon, of which the first field of a name counts, as it is written."""

    @staticmethod
    def _kconv(key: Any) -> Any:
        return key

    @staticmethod
    def _reduce_values(values: list[str]) -> str:
        return values[0]


OURS: dict[str, Callable[..., Any]] = {
    "get": http1_heads._get,
    "get_all": http1_heads._get_all,
    "contains": http1_heads._contains,
    "getitem": http1_heads._getitem,
}
# What an addon can put into `fields`, which mitmproxy does not check.
ODD: tuple[Any, ...] = (
    (("host", b"a"),),
    ((b"host", "a"),),
    ((bytearray(b"host"), b"a"),),
    ((5, b"a"),),
    ((b"host",),),
)


@pytest.mark.parametrize("name", [7, None, ["host"], bytearray(b"host"), "\ud800", b"HOST", "Host", "other"])
@pytest.mark.parametrize("way", OURS)
@pytest.mark.parametrize("kind", [http.Headers, First])
def test_any_name_is_looked_up_alike(kind: type[http.Headers], way: str, name: Any) -> None:
    headers = kind([(b"Host", b"a"), (b"hOST", b"b"), (b"Host", b"c")])

    assert _told(lambda: OURS[way](headers, name)) == _told(lambda: http1_heads._THEIRS[way](headers, name))


@pytest.mark.parametrize("fields", ODD)
def test_fields_of_other_types_are_taken_alike(fields: Any) -> None:
    message = http.Request.make("GET", "http://a/")
    message.headers.fields = fields
    asked = [(way, ours, (message.headers, name)) for way, ours in OURS.items() for name in ("host", "x")]
    asked.append(("validate", http1_heads._validate_headers, (message,)))
    asked.append(("size", http1_heads._expected_http_body_size, (message,)))

    for way, ours, arguments in asked:
        assert _told(partial(ours, *arguments)) == _told(partial(http1_heads._THEIRS[way], *arguments)), way


@pytest.mark.parametrize("authority", [None, 5, [], ["a"], bytearray(b"a:80"), "", "a:80", b"a:80", "a" * 500])
@pytest.mark.parametrize("check", [True, False])
def test_any_authority_is_taken_alike(authority: Any, check: bool) -> None:
    assert _told(lambda: http1_heads._parse_authority(authority, check)) == _told(
        lambda: http1_heads._THEIRS["authority"](authority, check)
    )


def test_each_takes_the_parameters_of_what_it_replaces() -> None:
    for owner, name, by in http1_heads.HEADS.replaced:
        assert [*inspect.signature(by).parameters] == [*inspect.signature(getattr(owner, name)).parameters], name


def test_all_that_is_made_without_its_constructor_is_known() -> None:
    """A field more in a later mitmproxy's message would be missing."""
    known = {source.__name__ for source in http1_heads.HEADS.known if inspect.ismodule(source)}
    made = (http.Headers, http.Request, http.RequestData, http.Response, http.ResponseData)
    bases = {base.__module__ for kind in made for base in kind.__mro__ if base.__module__.startswith("mitmproxy.")}

    assert bases <= known


def test_it_is_imported_where_mitmproxy_checks_no_types() -> None:
    """As under `python -O`."""
    code = "import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module('addon.proxy.host.steps')"

    subprocess.run([sys.executable, "-O", "-c", code, str(Path(__file__).parents[3])], check=True)


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

    assert len(http1_heads._plain_names) <= http1_heads._NAMES
    assert max(map(len, http1_heads._plain_names)) <= http1_heads._LONGEST
