"""Bodies that come packed."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
from mitmproxy import http

from patchbay.proxy.message_content import content, unpacked
from patchbay.values.decision import Refusal

LIMIT = 1_000_000
WORDS = b'{"model": "m"}' * 100
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstd.compress,
}


def raw(body: bytes, kind: str) -> http.Request:
    made = http.Request.make("POST", "http://a/")
    made.raw_content = body
    if kind:
        made.headers["content-encoding"] = kind
    return made


@pytest.mark.parametrize("kind", WAYS)
def test_what_fits_is_unpacked(kind: str) -> None:
    for body in (WORDS, bytes(LIMIT), b""):
        assert unpacked(raw(WAYS[kind](body), kind), LIMIT) == body
    assert unpacked(raw(WAYS[kind](WORDS), kind.upper()), LIMIT) == WORDS


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_larger_than_it_looks_is_refused_before_it_is_unpacked(kind: str) -> None:
    bomb = raw(WAYS[kind](bytes(50 * LIMIT)), kind)
    tracemalloc.start()
    refusal = unpacked(bomb, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert isinstance(refusal, Refusal)
    assert refusal.status == 413
    assert peak < 10 * LIMIT


def test_members_one_after_another_count_together() -> None:
    refusal = unpacked(raw(gzip.compress(bytes(LIMIT)) * 3, "gzip"), LIMIT)

    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize("kind", ["bz2", "zip", "hex", "rot13", "utf-8", "gzip, bz2", "gzip, gzip, gzip, gzip"])
def test_strange_ways_are_refused(kind: str) -> None:
    refusal = unpacked(raw(bz2.compress(WORDS), kind), LIMIT)

    assert isinstance(refusal, Refusal)
    assert refusal.status == 415


@pytest.mark.parametrize("kind", ["", "identity", "identity, identity"])
def test_what_is_not_packed_is_taken_as_it_is(kind: str) -> None:
    assert unpacked(raw(WORDS, kind), LIMIT) == WORDS


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_not_packed_as_it_says_is_refused(kind: str) -> None:
    for body in (WORDS, WAYS[kind](WORDS)[:-3]):
        refusal = unpacked(raw(body, kind), LIMIT)

        assert isinstance(refusal, Refusal)
        assert refusal.status == 400
        assert content(raw(body, kind), LIMIT) == body


def test_x_gzip_is_gzip_by_its_old_name() -> None:
    """R25: HTTP/1.1 says that a recipient takes the two for the same; x-compress is nobody's any more."""
    assert unpacked(raw(gzip.compress(WORDS), "x-gzip"), LIMIT) == WORDS
    assert unpacked(raw(gzip.compress(WORDS), "X-GZip"), LIMIT) == WORDS
    refused = unpacked(raw(WORDS, "x-compress"), LIMIT)
    assert isinstance(refused, Refusal) and refused.status == 415
