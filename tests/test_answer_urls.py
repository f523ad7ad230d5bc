"""Addresses of an upstream as its client can use them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import answer_urls, dialects
from patchbay.answer_urls import AddressMap, LineRewriter
from patchbay.body import Body
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Account, Secret
from patchbay.values.http import Endpoint, Headers, Origin, Request

from .each_row import each_row

HERE = "http://127.0.0.1:8080"
API = Origin("https", "api.example.com", 443)


def way(
    base: str = "",
    *,
    preset: str = "generic",
    address: str = HERE,
    asked: str = "/v1/files/a",
    went: str = "",
    origin: Origin = API,
    **more: Any,
) -> AddressMap:
    account = Account("a", PRESETS[preset], Secret("literal", "k"), origin=origin, base_path=base)
    return AddressMap(account, origin, address, asked, went or base + asked, **more)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://api.example.com/v1/files/b", f"{HERE}/v1/files/b"),
        ("https://api.example.com:443/v1/files/b", f"{HERE}/v1/files/b"),
        ("HTTPS://API.example.com/v1/files/b", f"{HERE}/v1/files/b"),
        ("http://api.example.com/v1/files/b", f"{HERE}/v1/files/b"),
        ("http://api.example.com:443/v1/files/b", f"{HERE}/v1/files/b"),
        ("https://api.example.com/v1/files?after=x&limit=2#top", f"{HERE}/v1/files?after=x&limit=2#top"),
        ("https://api.example.com/v1/files?key=AIzaSy&after=x", f"{HERE}/v1/files?after=x"),
        ("https://api.example.com/v1/files?key=removed-by-patchbay--", f"{HERE}/v1/files"),
        ("https://api.example.com/v1/files/b?sig=abc%2F", f"{HERE}/v1/files/b?sig=abc%2F"),
        ("https://api.example.com", HERE),
        ("https://api.example.com./v1/files/b", f"{HERE}/v1/files/b"),
    ],
)
def test_an_address_of_the_upstream_becomes_ours(url: str, told: str) -> None:
    """P1: whatever it is written like; keys do not stand in it."""
    assert way().for_client(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com.evil.org/v1/files/b", "https://api.example.com:8443/v1/files/b",
        "https://user@api.example.com/v1/files/b", "https://other.example.com/v1/files/b", "//api.example.com/v1/files",
        "see https://api.example.com/v1/files/b", "https://api.example.com/v1/files/b is it", "ftp://api.example.com/",
        "", "https://", "https://api.example.com:99999999/v1",
    ],
)  # fmt: skip
def test_anything_else_stays(url: str) -> None:
    """P1: another's address, and a text with one in it."""
    found = way()

    assert (found.for_client(url), found.given) == (url, [])


@pytest.mark.parametrize(
    ("base", "asked", "went", "there", "here"),
    [
        ("/api/v1", "/v1/jobs", "/api/v1/jobs", "/api/v1/jobs/1", "/v1/jobs/1"),
        ("/api/v1", "/jobs", "/api/v1/jobs", "/api/v1/jobs/1", "/jobs/1"),
        ("/api/v1", "/v1/files/x", "/api/v1/files/x", "/api/v1/files/y", "/v1/files/y"),
        ("", "/v1/files/x", "/v1/files/x", "/v1/files/y", "/v1/files/y"),
        ("/a/b", "/gate/v1/messages/batches/x", "/a/b/v1/messages/batches/x", "/a/b/v1/messages/batches/x/results",
         "/gate/v1/messages/batches/x/results"),
    ],
)  # fmt: skip
def test_the_path_is_the_one_that_leads_there(base: str, asked: str, went: str, there: str, here: str) -> None:
    """P1: a base URL with a path, and a client with one of its own before its requests."""
    assert way(base, asked=asked, went=went).for_client(f"https://api.example.com{there}") == f"{HERE}{here}"


@pytest.mark.parametrize(
    ("found", "path"),
    [
        (way(preset="openai"), "/admin/keys"),
        (way(anywhere=True), "/jobs/1"),
        (way("/api"), "/elsewhere"),
        (way("/api"), ""),
    ],
)
def test_an_address_that_cannot_be_reached_through_here_stays(found: AddressMap, path: str) -> None:
    """P1: a path that gets no key here, or that no path of ours leads to."""
    assert found.for_client(f"https://api.example.com{path}") == f"https://api.example.com{path}"


def test_a_client_of_the_proxy_keeps_addresses_and_they_are_remembered() -> None:
    """P1: in regular mode nothing changes, but the account that gave an address is asked for it."""
    found = way(address="")
    url = "https://api.example.com/upload/v1beta/files?upload_id=x&key=k"

    assert found.for_client(url) == url
    assert found.given == ["/upload/v1beta/files?upload_id=x"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("location", "https://api.example.com/v1/files/1", f"{HERE}/v1/files/1"),
        ("azure-asyncoperation", "https://api.example.com/v1/files/1", f"{HERE}/v1/files/1"),
        ("x-whatever", "https://api.example.com/v1/files/1", f"{HERE}/v1/files/1"),
        ("link", '<https://api.example.com/v1/files>; rel="next", <https://a/>', f'<{HERE}/v1/files>; rel="next", <https://a/>'),
        ("access-control-allow-origin", "https://api.example.com", "https://api.example.com"),
        ("location", "/v1/files/1", "/v1/files/1"),
        ("location", "//api.example.com/v1/files/1", f"{HERE}/v1/files/1"),
        ("content-location", "//API.example.com:443/v1/files/1", f"{HERE}/v1/files/1"),
        ("location", "//other.example.com/v1/files/1", "//other.example.com/v1/files/1"),
        ("link", '<//api.example.com/v1/a1>; rel=a, </v1/b1>; rel=b', f'<{HERE}/v1/a1>; rel=a, </v1/b1>; rel=b'),
        ("refresh", "5; url=https://api.example.com/v1/files/1", f"5; url={HERE}/v1/files/1"),
        ("refresh", "5", "5"),
        ("content-type", "application/json", "application/json"),
    ],
)  # fmt: skip
def test_addresses_in_headers(name: str, value: str, told: str) -> None:
    """P1: by the value, whatever the header is called."""
    assert way().header(name, value) == told


@pytest.mark.parametrize(
    ("name", "value", "given"),
    [
        ("location", "/v1/files/1", ["/v1/files/1"]),
        ("location", "b/status?n=1", ["/v1/files/b/status?n=1"]),
        ("location", "?after=x", ["/v1/files/a?after=x"]),
        ("link", '</v1/files?after=x>; rel="next", <../jobs/7>; rel=up', ["/v1/files?after=x", "/v1/jobs/7"]),
        ("location", "//other.example.com/v1/files/1", []),
        ("x-whatever", "/v1/files/1", []),
    ],
)
def test_an_address_without_a_host_is_remembered_too(name: str, value: str, given: list[str]) -> None:
    """P1: relative references lead here by themselves, and to the account that gave them."""
    found = way()

    assert (found.header(name, value), found.given) == (value, given)


@pytest.mark.parametrize("written", ["HTTPS://API.Example.com/v1/files/b", "https://api.example.com./v1/files/b"])
def test_an_address_in_a_body_may_be_written_in_other_ways(written: str) -> None:
    """P1: names of hosts have no case, and a dot may end them."""
    told = way().body(json.dumps({"a": written, "text": written}).encode())

    assert json.loads(told) == {"a": f"{HERE}/v1/files/b", "text": written}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "file_search_call", "queries": ["URL"]},
        {"type": "apply_patch_call", "operation": {"type": "update_file", "path": "URL", "diff": "URL"}},
        {"type": "shell_call", "action": {"commands": ["URL"]}},
        {"text": "said", "words": [{"word": "URL"}], "segments": [{"text": "URL"}], "logprobs": [{"token": "URL"}]},
        {"results": [{"document": "URL"}, {"document": {"text": "URL"}}]},
        {"id": "file-1", "filename": "URL", "name": "URL", "displayName": "URL"},
        {"data": [{"datasource_item": {"a": "URL"}, "sample": {"b": "URL"}}]},
        {"step_details": {"tool_calls": [{"code_interpreter": {"input": "URL"}, "x": "URL"}]}},
        {"search_query": ["URL"], "data": [{"content": [{"text": "URL"}], "attributes": {"a": "URL"}}]},
    ],
)
def test_words_in_resources_stay_as_they_are(item: object) -> None:
    """P1: lists of items, transcriptions, search and evaluations hold what a model or a client wrote."""
    raw = json.dumps(item).replace("URL", "https://api.example.com/v1/files/b").encode()

    assert way().body(raw) == raw


def test_members_are_mapped_by_their_value_and_words_are_not() -> None:
    """P1: any member; not what a model said, nor what the client gave."""
    url = "https://api.example.com/v1/files/b"
    text = {
        "next": url,
        "deep": [{"urls": [url, {"x": 1}, url]}],
        "response": {"video": {"uri": url}},
        "content": [{"text": url}],
        "metadata": {"mine": url},
        "output": url,
    }
    escaped = json.dumps(text).replace("/", "\\/").encode()
    ours = f"{HERE}/v1/files/b"
    wanted = text | {
        "next": ours,
        "deep": [{"urls": [ours, {"x": 1}, ours]}],
        "response": {"video": {"uri": ours}},
    }

    assert json.loads(way().body(json.dumps(text).encode())) == wanted
    assert json.loads(way().body(escaped)) == wanted
    assert json.loads(way().body(json.dumps({"response": url}).encode())) == {"response": url}


@pytest.mark.parametrize(
    ("endpoint", "path", "status", "headers", "how"),
    [
        (("POST", "/v1/chat/completions"), "", 200, {}, ""),
        (("POST", "/v1/images/generations"), "", 200, {}, "whole"),
        (("POST", "/v1/responses"), "", 202, {}, "whole"),
        (("GET", "/v1/messages/batches/b"), "", 200, {}, "whole"),
        (("GET", "/v1/messages/batches/b/results"), "", 200, {"content-type": "application/x-jsonl"}, ""),
        (("GET", "/v1/files/f/content"), "", 200, {}, ""),
        (("GET", "/v1beta/files/f:download"), "", 200, {}, ""),
        (("GET", "/v1beta/files/f%3Adownload"), "", 200, {}, ""),
        (("GET", "/v1beta/files/f"), "?alt=media", 200, {}, ""),
        (("GET", "/v1/files"), "", 500, {}, ""),
        (("GET", "/v1/files"), "", 206, {"content-range": "bytes 0-9/20"}, ""),
        (("GET", "/v1/files"), "", 200, {"content-type": "image/png"}, ""),
        (("GET", "/v1/files"), "", 200, {"content-type": "application/problem+json; charset=utf-8"}, "whole"),
        (("GET", "/v1/files"), "", 200, {"content-disposition": 'attachment; filename="x"'}, ""),
        (("GET", "/events"), "", 200, {"content-type": "text/event-stream"}, "lines"),
    ],
)  # fmt: skip
def test_where_addresses_are_looked_for(
    endpoint: Any, path: str, status: int, headers: dict[str, str], how: str
) -> None:
    """P1: not in a generation's words, nor in what is downloaded."""
    found = dialects.endpoint(*endpoint)
    head = Headers(({"content-type": "application/json"} | headers).items())

    assert answer_urls.body_form(found, endpoint[1] + path, status, head.get) == how


STREAM = b"".join(
    (
        b'event: a\r\ndata: {"url": "https://api.example.com/v1/files/1", "text": "https://api.example.com/v1/x"}\r\n\r\n',
        b'data: {"u":"https:\\/\\/api.example.com\\/v1\\/files\\/2"}\n\n: comment\r',
        b'{"id": 3, "urls": ["https://api.example.com/v1/files/3"]}\n',
        b'{"last": "https://api.example.com/v1/files/4"}',
    )
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_lines_are_mapped_wherever_they_are_cut(cuts: list[int]) -> None:
    """P1: every cut of a stream gives what the stream gives in one piece."""
    whole, cut = LineRewriter(way()), LineRewriter(way())
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [cut.feed(STREAM[at:end]) for at, end in pairwise(places)]

    assert b"".join(pieces) + cut.rest() == whole.feed(STREAM) + whole.rest()


def test_every_single_cut_of_a_stream() -> None:
    """P1: each byte alone, and each pair of pieces; only addresses change."""
    one = LineRewriter(way())
    wanted = b"".join(one.feed(STREAM[at : at + 1]) for at in range(len(STREAM))) + one.rest()
    for at in range(len(STREAM)):
        two = LineRewriter(way())
        assert two.feed(STREAM[:at]) + two.feed(STREAM[at:]) + two.rest() == wanted

    assert wanted.count(HERE.encode()) == 4
    assert b'"text": "https://api.example.com/v1/x"' in wanted


def test_a_line_passes_with_its_end_and_one_without_an_end_is_not_kept() -> None:
    """P1: nothing is held that is whole, and no line grows without a bound."""
    lines = LineRewriter(way())
    long = b'{"x": "' + b"y" * answer_urls.LINE

    assert lines.feed(b'{"a": 1}\n{"b"') == b'{"a": 1}\n'
    assert lines.feed(b": 2}\n" + long) == b'{"b": 2}\n' + long
    assert lines.feed(b"z") == b"z"
    assert lines.feed(b'"}\n{"u": "https://api.example.com/v1/files/1"}\n').endswith(
        f'"{HERE}/v1/files/1"}}\n'.encode()
    )


# -- the way back ----------------------------------------------------------------------------------------------------


def request(body: object, address: str = HERE) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", "/v1beta/models/m:generateContent", Headers(), Body(raw), Endpoint(), API, address=address)


def test_a_request_names_a_file_as_its_upstream_does() -> None:
    """P1: a file's uri that was mapped in an answer means the file upstream when it comes back."""
    part = {"fileData": {"fileUri": f"{HERE}/v1beta/files/abc", "mimeType": "text/plain"}}
    written = {"functionCall": {"name": "get", "args": {"uri": f"{HERE}/v1beta/files/abc"}}}
    said = {"text": f"{HERE}/v1beta/files/abc"}
    asked = request({"contents": [{"parts": [part, written, said]}]})
    account = way().account
    raw = answer_urls.for_upstream(asked, asked.body.raw or b"", account, API)
    parts = json.loads(raw)["contents"][0]["parts"]

    assert parts[0]["fileData"]["fileUri"] == "https://api.example.com/v1beta/files/abc"
    assert parts[1:] == [written, said]


@pytest.mark.parametrize("address", ["", HERE])
def test_a_request_without_our_address_is_not_touched(address: str) -> None:
    asked = request({"contents": [{"parts": [{"fileData": {"fileUri": "https://x.y/z"}}]}]}, address)
    raw = asked.body.raw or b""

    assert answer_urls.for_upstream(asked, raw, way().account, API) is raw


@pytest.mark.parametrize(
    ("headers", "authority", "scheme", "told"),
    [
        ({"host": "127.0.0.1:8080"}, "", "http", HERE),
        ({"host": "x"}, "box.lan:1", "https", "https://box.lan:1"),
        ({"host": "127.0.0.1:8080", "x-forwarded-proto": "https"}, "", "http", "https://127.0.0.1:8080"),
        ({"host": "a", "x-forwarded-proto": "https, http", "x-forwarded-host": "llm.example.com, b"}, "", "http", "https://llm.example.com"),
        ({"host": "a", "x-forwarded-proto": "gopher", "x-forwarded-host": "a b"}, "", "http", ""),
        ({"host": "[::1]:8080"}, "", "http", "http://[::1]:8080"),
        ({"host": "a", "x-forwarded-proto": "https", "x-forwarded-host": "b", "x-forwarded-port": "8443"}, "", "http", "https://b:8443"),
        ({"host": "a", "x-forwarded-proto": "https", "x-forwarded-host": "b", "x-forwarded-port": "443"}, "", "http", "https://b"),
        ({"host": "a", "x-forwarded-host": "b:1", "x-forwarded-port": "8443"}, "", "http", "http://b:1"),
        ({"host": "a", "x-forwarded-prefix": "/llm/"}, "", "http", "http://a/llm"),
        ({"host": "a", "x-forwarded-prefix": "//evil.org"}, "", "http", "http://a"),
        ({"host": "a", "x-forwarded-prefix": "/../x"}, "", "http", "http://a"),
        ({}, "", "http", ""),
        ({"host": 'a"b'}, "", "http", ""),
    ],
)  # fmt: skip
def test_the_address_a_client_used(headers: dict[str, str], authority: str, scheme: str, told: str) -> None:
    """P1: also behind a front that ends TLS."""
    assert answer_urls.client_address(Headers(headers.items()), authority, scheme) == told


def test_a_request_by_a_prefix_of_a_front_names_a_file_as_its_upstream_does() -> None:
    """P1: a front that takes a prefix off its paths, and a host in upper case."""
    here = "https://Front.example.com/llm"
    body = {"contents": [{"parts": [{"fileData": {"fileUri": f"{here}/v1beta/files/abc"}}]}]}
    raw = json.dumps(body).replace("/", "\\/").encode()
    told = json.loads(answer_urls.for_upstream(request(raw, here), raw, way().account, API))

    assert told["contents"][0]["parts"][0]["fileData"]["fileUri"] == "https://api.example.com/v1beta/files/abc"


SAID = (
    "content text delta output outputs arguments args input message messages candidates parts choices instructions"
    " prompt metadata system tools parameters schema functionCall functionResponse attributes labels title"
    " description display_name displayName revised_prompt answer completion generated_text contents annotation"
    " annotations citations action sources summary code logs stdout stderr refusal transcript thinking value"
    " queries query search_query operation commands command diff word words segments token tokens logprobs document"
    " documents datasource_item sample tool_calls step_details name filename file_name fileName"
).split()


@each_row("member", SAID)
def test_each_member_that_holds_texts_stays_as_it_is(member: str) -> None:
    url = "https://api.example.com/v1/files/b"
    for said in (url, [url], {"url": url}):
        text = json.dumps({"id": "x", member: said}).encode()
        assert way().body(text) == text


def test_a_response_is_a_text_or_an_object_with_addresses() -> None:
    url = "https://api.example.com/v1/files/b"

    assert json.loads(way().body(json.dumps({"response": url}).encode())) == {"response": url}
    assert json.loads(way().body(json.dumps({"response": {"url": url}}).encode())) == {
        "response": {"url": f"{HERE}/v1/files/b"}
    }


@pytest.mark.parametrize(
    "member", ["uri", "fileUri", "file_uri", "url", "image_url", "file_url", "video_url", "audio_url"]
)
def test_each_member_of_a_request_that_holds_an_address_is_mapped(member: str) -> None:
    asked = request({"contents": [{member: f"{HERE}/v1beta/files/abc"}]}, HERE)
    account = Account("a", PRESETS["generic"], Secret("literal", "k"), origin=API)
    told = json.loads(answer_urls.for_upstream(asked, asked.body.raw or b"", account, API))

    assert told["contents"][0][member] == "https://api.example.com/v1beta/files/abc"


@pytest.mark.parametrize("outer", ["arguments", "args", "functionCall", "functionResponse", "metadata", "text"])
def test_no_address_below_a_text_of_a_request_is_mapped(outer: str) -> None:
    asked = request({"contents": [{outer: {"url": f"{HERE}/v1beta/files/abc"}}]}, HERE)
    account = Account("a", PRESETS["generic"], Secret("literal", "k"), origin=API)
    raw = asked.body.raw or b""

    assert answer_urls.for_upstream(asked, raw, account, API) == raw


@pytest.mark.parametrize("name", ["access-control-allow-origin", "content-security-policy", "x-patchbay-upstream"])
def test_each_header_with_a_policy_stays(name: str) -> None:
    assert way().header(name, "https://api.example.com/v1/files/b") == "https://api.example.com/v1/files/b"


@pytest.mark.parametrize(("over", "mapped"), [(0, True), (1, False)])
def test_a_body_of_exactly_the_limit_is_mapped(over: int, mapped: bool) -> None:
    url = b'{"url": "https://api.example.com/v1/files/b"}'
    text = url + b" " * (answer_urls.READ - len(url) + over)

    assert (way().body(text) != text) is mapped


def test_no_more_addresses_are_remembered_than_the_limit() -> None:
    found = way()
    for number in range(answer_urls.GIVEN + 5):
        found.note(f"/v1/files/{number}")

    assert len(found.given) == answer_urls.GIVEN


def test_the_limits_are_those_of_the_docs() -> None:
    assert (answer_urls.READ, answer_urls.LINE, answer_urls.GIVEN) == (16777216, 1048576, 256)


@pytest.mark.parametrize(
    ("suffix", "how"),
    [("/images/generations", "whole"), ("/audio/speech", "whole"), ("/videos", "whole"), ("/videos/v", "whole"),
     ("/chat/completions", ""), ("/v1/images/x", "")],
)  # fmt: skip
def test_generations_without_words_are_mapped(suffix: str, how: str) -> None:
    head = Headers([("content-type", "application/json")])
    endpoint = Endpoint("openai_chat", "openai", "generation", suffix)

    assert answer_urls.body_form(endpoint, "/v1" + suffix, 200, head.get) == how


@pytest.mark.parametrize(
    ("path", "status", "kind", "how"),
    [
        ("/v1/files", 399, "application/json", "whole"),
        ("/v1/files", 400, "application/json", ""),
        ("/v1/files/download", 200, "application/json", ""),
        ("/v1/files?a=1&alt=media", 200, "application/json", ""),
        ("/v1/files?alt=mediaish", 200, "application/json", "whole"),
        ("/v1/files", 200, "application/x-ndjson", "lines"),
        ("/v1/files", 200, "application/jsonl", "lines"),
        ("/v1/files", 200, "", ""),
    ],
)
def test_the_form_of_a_body_follows_its_status_path_and_type(path: str, status: int, kind: str, how: str) -> None:
    endpoint = dialects.endpoint("GET", "/v1/files")

    assert answer_urls.body_form(endpoint, path, status, Headers([("content-type", kind)]).get) == how


@pytest.mark.parametrize(
    ("origin", "url", "path"),
    [
        (API, "http://api.example.com:80/v1/files/b", "/v1/files/b"),  # a server behind a TLS terminator
        (API, "http://api.example.com:8080/v1/files/b", ""),
        (Origin("http", "api.example.com", 80), "https://api.example.com/v1/files/b", "/v1/files/b"),
        (Origin("http", "api.example.com", 8080), "https://api.example.com:8080/v1/files/b", "/v1/files/b"),
        (Origin("http", "api.example.com", 8080), "http://api.example.com/v1/files/b", ""),
        (Origin("http", "api.example.com", 8080), "https://api.example.com/v1/files/b", ""),
        (Origin("https", "api.example.com", 80), "http://api.example.com/v1/files/b", ""),
        (Origin("http", "127.0.0.1", 9000), "http://localhost:9000/v1/files/b", "/v1/files/b"),
        (Origin("http", "127.0.0.1", 9000), "http://[::1]:9000/v1/files/b", "/v1/files/b"),
        (Origin("http", "127.0.0.1", 9000), "http://api.example.com:9000/v1/files/b", ""),
        (Origin("http", "api.example.com", 9000), "http://localhost:9000/v1/files/b", ""),
    ],
)
def test_an_address_is_the_upstream_s_by_host_port_and_scheme(origin: Origin, url: str, path: str) -> None:
    assert way(origin=origin).for_client(url) == (f"{HERE}{path}" if path else url)


def test_an_address_without_a_path_leads_here_where_the_base_url_has_none() -> None:
    assert way().for_client("https://api.example.com?x=1#a") == f"{HERE}?x=1#a"
    assert way("/api").for_client("https://api.example.com?x=1") == "https://api.example.com?x=1"
    assert way(anywhere=True).for_client("https://api.example.com") == HERE


@pytest.mark.parametrize("name", ["location", "content-location", "operation-location"])
def test_each_header_that_always_holds_an_address_is_read_as_one(name: str) -> None:
    found = way()

    assert (found.header(name, "/v1/files/1"), found.given) == ("/v1/files/1", ["/v1/files/1"])


def test_a_header_without_an_address_keeps_its_blanks() -> None:
    assert way().header("x-note", " it is no address ") == " it is no address "
    assert way().header("x-note", " https://api.example.com/v1/files/b ") == f"{HERE}/v1/files/b"


@pytest.mark.parametrize(
    ("preset", "asked", "path", "leads", "anywhere"),
    [
        ("openai", "/v1/files/a", "/v1/files/b", True, True),  # of a dialect: served by any listener
        ("generic", "/jobs", "/jobs/1", False, True),
        ("generic", "/jobs", "/jobs/1", True, False),
        ("anthropic", "/v1/messages/batches", "/v1/chat/completions", False, False),  # of a dialect it does not speak
        ("openai", "/v1/responses", "/v1/chat/completions", True, False),  # a path of POST alone
        ("openai", "/v1/files/a", "/v1/models", True, True),  # a path of GET alone
        ("gemini", "/v1beta/models", "/v1/models/m", True, False),  # a path that several dialects share
    ],
)
def test_an_address_leads_here_where_a_listener_serves_its_path(
    preset: str, asked: str, path: str, leads: bool, anywhere: bool
) -> None:
    url = f"https://api.example.com{path}"

    assert way(preset=preset, asked=asked, anywhere=anywhere).for_client(url) == (f"{HERE}{path}" if leads else url)


@pytest.mark.parametrize(
    ("base", "asked", "went", "there", "here"),
    [
        ("/b", "a", "/b/a", "/b/a/1", "/b/a/1"),
        ("/b", "/jobs", "/b/jobs", "/bjobs", "https://api.example.com/bjobs"),
        ("/b", "/jobs?x=/c/d", "/b/jobs?x=/c/d", "/b/jobs/2", "/jobs/2"),
        ("/b", "/jobs", "/b/jobs?y", "/b", ""),
    ],
)
def test_what_a_client_wrote_before_its_path_is_written_before_an_address(
    base: str, asked: str, went: str, there: str, here: str
) -> None:
    told = way(base, asked=asked, went=went).for_client(f"https://api.example.com{there}")

    assert told == (here if here.startswith("https") else HERE + here)


@pytest.mark.parametrize(("over", "passes"), [(0, False), (1, True)])
def test_a_line_waits_for_its_end_up_to_the_limit(over: int, passes: bool) -> None:
    line = b'{"a":"' + b"x" * (answer_urls.LINE - 6 + over)

    assert LineRewriter(way()).feed(line) == (line if passes else b"")


def test_the_rest_of_a_stream_is_mapped_once_and_not_within_a_line_that_passes() -> None:
    line = b'{"u": "https://api.example.com/v1/files/1"}'
    lines, long = LineRewriter(way()), LineRewriter(way())
    lines.feed(line)
    long.feed(b" " * (answer_urls.LINE + 1))

    assert (lines.rest(), lines.rest()) == (f'{{"u": "{HERE}/v1/files/1"}}'.encode(), b"")
    assert (long.feed(line), long.rest()) == (line, b"")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"url": f"{HERE}/v1beta/files/a"}, {"url": "https://api.example.com/v1beta/files/a"}),
        ({"url": f"{HERE}"}, None),
        ({"url": f"{HERE}x/y"}, None),
        ({"url": f"see {HERE}/v1beta/files/a"}, None),
        ({"name": f"{HERE}/v1beta/files/a"}, None),
        ({"input": {"url": f"{HERE}/v1beta/files/a"}}, {"input": {"url": "https://api.example.com/v1beta/files/a"}}),
        ({"x": {"input": {"url": f"{HERE}/v1beta/files/a"}}}, None),
        ([f"{HERE}/v1beta/files/a"], None),
    ],
)
def test_an_address_of_ours_in_a_request_is_one_in_a_member_for_addresses(body: object, told: object) -> None:
    sent = request(body)
    raw = answer_urls.for_upstream(sent, sent.body.raw or b"", way().account, API)

    assert json.loads(raw) == (body if told is None else told)


def test_an_upstream_s_own_port_stays_in_its_address() -> None:
    sent = request({"url": f"{HERE}/v1/files/a?x=1"})
    origin = Origin("http", "api.example.com", 443)

    assert json.loads(answer_urls.for_upstream(sent, sent.body.raw or b"", way("/b").account, origin)) == {
        "url": "http://api.example.com:443/b/files/a?x=1"
    }
