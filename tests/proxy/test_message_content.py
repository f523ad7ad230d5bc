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

from patchbay.proxy.message_content import KEPT, coding_of, content, decoded
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
        assert decoded(raw(WAYS[kind](body), kind), LIMIT) == body
    assert decoded(raw(WAYS[kind](WORDS), kind.upper()), LIMIT) == WORDS


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_larger_than_it_looks_is_refused_before_it_is_unpacked(kind: str) -> None:
    bomb = raw(WAYS[kind](bytes(50 * LIMIT)), kind)
    tracemalloc.start()
    refusal = decoded(bomb, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert isinstance(refusal, Refusal)
    assert refusal.status == 413
    assert peak < 10 * LIMIT


def test_members_one_after_another_count_together() -> None:
    refusal = decoded(raw(gzip.compress(bytes(LIMIT)) * 3, "gzip"), LIMIT)

    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize("kind", ["bz2", "zip", "hex", "rot13", "utf-8", "gzip, bz2", "gzip, gzip, gzip, gzip"])
def test_strange_ways_are_refused(kind: str) -> None:
    refusal = decoded(raw(bz2.compress(WORDS), kind), LIMIT)

    assert isinstance(refusal, Refusal)
    assert refusal.status == 415


@pytest.mark.parametrize("kind", ["", "identity", "identity, identity"])
def test_what_is_not_packed_is_taken_as_it_is(kind: str) -> None:
    assert decoded(raw(WORDS, kind), LIMIT) == WORDS


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_not_packed_as_it_says_is_refused(kind: str) -> None:
    for body in (WORDS, WAYS[kind](WORDS)[:-3]):
        refusal = decoded(raw(body, kind), LIMIT)

        assert isinstance(refusal, Refusal)
        assert refusal.status == 400
        assert content(raw(body, kind), LIMIT) == body


def test_x_gzip_is_gzip_by_its_old_name() -> None:
    """R25: HTTP/1.1 says that a recipient takes the two for the same; x-compress is nobody's any more."""
    assert decoded(raw(gzip.compress(WORDS), "x-gzip"), LIMIT) == WORDS
    assert decoded(raw(gzip.compress(WORDS), "X-GZip"), LIMIT) == WORDS
    refused = decoded(raw(WORDS, "x-compress"), LIMIT)
    assert isinstance(refused, Refusal) and refused.status == 415


@pytest.mark.parametrize(
    ("body", "kind", "code", "words"),
    [(WORDS, "bz2", "content_encoding", "none of gzip"), (WORDS, "gzip", "content_encoding", "not what its")],
)
def test_a_refusal_says_what_is_wrong_with_the_coding(body: bytes, kind: str, code: str, words: str) -> None:
    refusal = decoded(raw(body, kind), LIMIT)

    assert isinstance(refusal, Refusal) and refusal.code == code and words in refusal.message


def test_a_message_without_a_body_is_empty() -> None:
    for kind in ("", "gzip"):
        made = raw(b"", kind)
        made.raw_content = None
        assert (decoded(made, LIMIT), content(made, LIMIT)) == (b"", b"")
    broken = raw(b"", "bz2")
    broken.raw_content = None
    assert content(broken, LIMIT) == b""


def test_only_a_body_with_a_coding_is_decoded() -> None:
    assert [coding_of(raw(b"", kind)) for kind in ("", "identity", "gzip", "br, gzip")] == ["", "", "gzip", "br, gzip"]
    twice = raw(gzip.compress(zlib.compress(WORDS)), "deflate")
    twice.headers.add("content-encoding", "gzip")
    assert coding_of(twice) == "deflate, gzip" and decoded(twice, LIMIT) == WORDS
    plain = raw(WORDS, "")
    assert decoded(plain, 1) == WORDS, "the limit is that of decoding"


def test_the_body_of_a_stored_flow_may_decode_to_64_mebibytes() -> None:
    assert KEPT == 67_108_864
