"""What is refused by its head alone, and what is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from patchbay import dialects
from patchbay.guards import Arrival, Guards, body_too_deep
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, LimitSettings
from patchbay.values import header_names
from patchbay.values.account import Account, Secret
from patchbay.values.decision import Refusal
from patchbay.values.http import Endpoint, Headers, Origin

from .each_row import each_row
from .test_home_first import calls

CHAT = Endpoint("openai_chat", "openai", "generation", "/chat/completions")
OPENAI = Account("one", PRESETS["openai"], Secret("literal", ""), Origin("https", "api.openai.com", 443))
CONFIG = Config(
    (OPENAI,), allowed_hosts=("box.lan", "*.corp"), allowed_origins=("http://localhost:3000", "app://editor")
)
GUARDS = Guards(CONFIG)


def refused(
    headers: list[tuple[str, str]] | dict[str, str],
    *,
    host: str = "127.0.0.1:8080",
    path: str = "/v1/chat/completions",
    secure: bool = False,
    guards: Guards = GUARDS,
) -> str:
    fields = headers.items() if isinstance(headers, dict) else headers
    refusal = guards.refusal(Arrival("POST", path, Headers(fields), host, ("192.168.1.5",), secure), CHAT)
    return refusal.code if refusal else ""


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST:1", "api.localhost", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080",
     "[::1]", "patchbay.invalid", "patchbay.invalid:80", "192.168.1.5:8080", "api.openai.com", "box.lan:99",
     "a.b.corp"],
)  # fmt: skip
def test_names_that_are_ours_pass(host: str) -> None:
    assert refused({}, host=host) == ""


@each_row(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.6", "", " ",
     "localhost@evil.example", "evil.example#localhost", "localhost, evil.example", "localhost evil.example",
     "localhost:80:80", "[::1", "::1]", "corp", "box.lan.evil.example", "api.openai.com.evil.example", "0.0.0.0",  # noqa: S104
     "[::ffff:8.8.8.8]", "2130706433", "0x7f.1", "localhost/evil.example", "xn--lcalhost-", "localhost.", "*"],
)  # fmt: skip
def test_names_that_are_not_ours_are_refused(host: str) -> None:
    assert refused({}, host=host) == "host_not_allowed"


def test_the_host_of_an_account_is_known_without_a_look_at_the_others() -> None:
    at = [Origin("https", f"{number}.azure.example", 443) for number in range(1000)]
    counted = []
    for origins in (at[:2], at):
        guards = Guards(Config(tuple(replace(OPENAI, id=each.host, origin=each) for each in origins)))
        assert refused({}, host=origins[-1].host, guards=guards) == ""
        counted.append(calls(partial(refused, {}, host=origins[-1].host, guards=guards)))
        assert refused({}, host="azure.example", guards=guards) == "host_not_allowed"
    assert counted[0] == counted[1]


def test_a_star_takes_every_name() -> None:
    assert refused({}, host="evil.example", guards=Guards(Config((), allowed_hosts=("*",)))) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-mode": "cors"},  # Node
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"},
        {"origin": "app://editor"},
        {"origin": "APP://Editor"},
    ],
)
def test_programs_and_allowed_pages_pass(headers: dict[str, str]) -> None:
    assert refused(headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://127.0.0.1:8080"},
        {"origin": "http://127.0.0.1:8081"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://localhost:8080"},
        {"origin": "http://localhost:3000.evil.example"},
        {"origin": "file://"},
        {"origin": "chrome-extension://abcdef"},
        {"origin": "http://evil@127.0.0.1:8080"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "Cross-Site"},
        {"sec-fetch-site": "anything"},
        {"sec-fetch-site": ""},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    assert refused(headers) == "cross_site"


@pytest.mark.parametrize(
    ("host", "secure", "target", "code"),
    [
        ("api.openai.com", True, "api.openai.com:443", ""),
        ("API.openai.com:443", True, "api.openai.com:443", ""),
        ("127.0.0.1:9", False, "127.0.0.1:9", ""),
        ("[::1]:9", False, "::1:9", ""),
        ("127.0.0.1:8", False, "127.0.0.1:9", "host_not_allowed"),
        ("localhost:9", False, "127.0.0.1:9", "host_not_allowed"),
        ("api.openai.com", False, "api.openai.com:443", "host_not_allowed"),
        ("", True, "api.openai.com:443", "host_not_allowed"),
    ],
)
def test_a_proxy_s_client_names_where_it_goes(host: str, secure: bool, target: str, code: str) -> None:
    arrival = Arrival("POST", "/v1/chat/completions", Headers(), host, (), secure, target)
    refusal = GUARDS.refusal(arrival, CHAT)

    assert (refusal.code if refusal else "") == code


@pytest.mark.parametrize(
    "fields",
    [
        [("upgrade", "websocket")],
        [("upgrade", "websocket"), ("sec-websocket-version", "8")],
        [("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-version", "13")],
        [("upgrade", "websocket"), ("sec-websocket-version", "13, 8")],
        [("upgrade", "h2c, websocket"), ("sec-websocket-version", "13")],
        [("upgrade", "websocket"), ("upgrade", "websocket"), ("sec-websocket-version", "13")],
        [("sec-websocket-key", "x"), ("sec-websocket-version", "13")],
        [("upgrade", "x"), ("sec-websocket-version", "13")],
    ],
)
def test_an_upgrade_that_would_become_a_tunnel_is_refused(fields: list[tuple[str, str]]) -> None:
    """T3: where mitmproxy does not see a WebSocket, its messages would pass unread."""
    assert refused(fields) == "header_unusable"
    assert refused([("Upgrade", "WebSocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "x")]) == ""
    assert refused([("Upgrade", "h2c")]) == ""


def test_one_foreign_origin_among_several_is_enough() -> None:
    assert refused([("origin", "http://localhost:3000"), ("origin", "http://evil.example")]) == "cross_site"
    assert refused([("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]) == "cross_site"


def test_a_page_s_own_scheme_counts() -> None:
    assert refused({"origin": "https://127.0.0.1:8080"}, secure=True) == ""
    assert refused({"origin": "https://127.0.0.1"}, secure=True, host="127.0.0.1:443") == ""
    assert refused({"origin": "http://127.0.0.1:8080"}, secure=True) == "cross_site"


@pytest.mark.parametrize("kind", ["text/plain", "Text/Plain; charset=utf-8", "text/plain;a=b"])
def test_a_body_that_a_plain_form_can_send_is_refused(kind: str) -> None:
    assert refused({"content-type": kind}) == "content_type"


@pytest.mark.parametrize("kind", ["application/json", "", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_curl_and_sdks_send_is_taken(kind: str) -> None:
    assert refused({"content-type": kind}) == ""


@pytest.mark.parametrize(
    "name",
    ["x_api_key", "X_Api_Key", "x_patchbay_account", "X-Patchbay_Request-Id", "content_length", "transfer_encoding",
     "proxy_authorization", "openai_organization"],
)  # fmt: skip
def test_a_header_that_some_read_as_another_is_refused(name: str) -> None:
    assert refused({name: "x"}) == "header_unusable"


@pytest.mark.parametrize("name", ["session_id", "model_id", "x-api-key", "X-Patchbay-Account", "authorization"])
def test_ordinary_headers_pass(name: str) -> None:
    assert refused({name: "x"}) == ""


@pytest.mark.parametrize("value", ["a\r\n b", "a\nb", "a\rb", "a\0b"])
def test_a_header_of_two_lines_is_refused(value: str) -> None:
    assert refused({"x-anything": value}) == "header_unusable"


@pytest.mark.parametrize(
    "path",
    ["//evil.example/v1/chat/completions", "http://evil.example/v1/chat/completions", "/v1/../chat/completions",
     "/v1/%2e%2e/chat/completions", "/v1/%252e%252e/chat/completions", "/v1/..;/chat/completions", "/a/./b", "/a/..",
     "/v1/..%2fadmin/chat/completions", "/v1\\..\\chat/completions", "/v1/%5c/chat/completions", "/v1#/x",
     "*", "", "v1/chat/completions", "/v1/%0d%0a/chat/completions", "/v1/%00/chat/completions", "/.;a/x", "/%2e/x"],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: str) -> None:
    assert refused({}, path=path) == "path_unusable"


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/chat/completions?redirect=http://x/../y", "/v1beta/models/gemini-2.5:generateContent",
     "/v1/models/org%2Fname", "/v1/files/..file", "/.well-known/x", "/a...b/c", "/", "/v1//x", "/v1/a;b=c"],
)  # fmt: skip
def test_ordinary_paths_pass(path: str) -> None:
    assert refused({}, path=path) == ""


def test_heads_have_bounds() -> None:
    guards = Guards(Config((), limits=LimitSettings(header_size=1000, header_count=5)))

    assert refused([("a", "b")] * 5, guards=guards) == ""
    assert refused([("a", "b")] * 6, guards=guards) == "head_too_large"
    assert refused({"a": "b" * 995}, guards=guards) == ""
    assert refused({"a": "b" * 996}, guards=guards) == "head_too_large"


def test_a_body_above_the_bound_is_refused_by_what_it_announces() -> None:
    guards = Guards(Config((), limits=LimitSettings(body=10)))

    assert guards.too_large(Headers([("content-length", "10")])) is None
    assert guards.too_large(Headers([("content-length", "ten")])) is None
    assert guards.too_large(Headers([])) is None
    refusal = guards.too_large(Headers([("Content-Length", "11")]))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (413, "body_too_large")


def test_an_allowed_page_is_told_so() -> None:
    assert GUARDS.allowed_origin(Headers([("origin", "http://localhost:3000")])) == "http://localhost:3000"
    assert GUARDS.allowed_origin(Headers([("origin", "http://localhost:3001")])) == ""
    assert GUARDS.allowed_origin(Headers([])) == ""


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL"])
def test_a_header_does_not_stand_for_another_path(name: str) -> None:
    """T4: some servers read the path from a header; there, it must be the same."""
    guards, endpoint = Guards(Config(())), dialects.endpoint("POST", "/v1/files")
    for path, refused in (("/v1/chat/completions", True), ("/v1/files", False)):
        headers = Headers(((name.lower(), path),))
        found = guards.refusal(Arrival("POST", "/v1/files", headers, "localhost", ()), endpoint)
        assert (found is not None) == refused


@pytest.mark.parametrize("value", ["gzip, chunked", "identity", "deflate", "chunked, chunked", "gzip"])
def test_a_body_is_not_packed_for_the_way(value: str) -> None:
    """R5, T5: what is transferred in another coding than chunks would pass unread."""
    guards, endpoint = Guards(Config(())), dialects.endpoint("POST", "/v1/responses")
    for said, refused in ((value, True), ("chunked", False), ("Chunked", False)):
        headers = Headers((("transfer-encoding", said),))
        found = guards.refusal(Arrival("POST", "/v1/responses", headers, "localhost", ()), endpoint)
        assert (found is not None) == refused


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
@pytest.mark.parametrize(("method", "is_refused"), [("post", False), (" POST ", False), ("DELETE", True), ("", True)])
def test_each_header_for_another_method_must_name_the_request_s_own(name: str, method: str, is_refused: bool) -> None:
    assert refused({name: method}) == ("header_unusable" if is_refused else "")


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in header_names.CREDENTIALS if "-" in name), *sorted(header_names.ACCOUNTS),
        "proxy-authorization", "content-length", "transfer-encoding", "x-patchbay-anything",
    ],
)  # fmt: skip
def test_each_header_that_a_server_may_read_under_another_spelling_is_refused(name: str) -> None:
    for spelled in (name.replace("-", "_"), name.replace("-", "_", 1).title()):
        assert refused({spelled: "x"}) == "header_unusable"


@pytest.mark.parametrize("name", ["X-Patchbay-Account", "X-Patchbay-Session-Id"])
def test_a_choice_that_is_there_twice_must_be_the_same(name: str) -> None:
    assert refused([(name, "one"), (name.lower(), "two")]) == "header_unusable"
    assert refused([(name, "one"), (name, "")]) == "header_unusable"
    assert refused([(name, "one"), (name, " one ")]) == refused([(name, "one")]) == ""
    assert refused([("X-Session-Id", "one"), ("X-Session-Id", "two")]) == ""


@pytest.mark.parametrize(
    "fields",
    [
        [("accept", "x"), ("x_api_key", "a")], [("x-http-method-override", "PUT")], [("x-original-url", "/other")],
        [("transfer-encoding", "gzip")], [("upgrade", "h2c, websocket")], [("x-any", "a\nb")], [("", "a\rb")],
        [("x" * 65, "\0")],
    ],
)  # fmt: skip
def test_the_header_that_is_ambiguous_is_named(fields: list[tuple[str, str]]) -> None:
    arrival = Arrival("POST", "/v1/files", Headers([("host", "localhost"), *fields]), "localhost", ())
    refusal = Guards(Config(())).refusal(arrival, dialects.endpoint("POST", "/v1/files"))
    assert refusal is not None
    assert refusal.message == f"The header '{fields[-1][0].lower()[:64]}' is ambiguous"


def test_each_refusal_has_its_status() -> None:
    arrivals = {
        (403, "host_not_allowed"): Arrival("POST", "/v1/files", Headers(), "evil.example", ()),
        (403, "cross_site"): Arrival("POST", "/v1/files", Headers([("origin", "https://x.y")]), "localhost", ()),
        (400, "header_unusable"): Arrival("POST", "/v1/files", Headers([("x_api_key", "a")]), "localhost", ()),
        (400, "path_unusable"): Arrival("POST", "/v1/../files", Headers(), "localhost", ()),
        (431, "head_too_large"): Arrival("POST", "/v1/files", Headers([("a", "b" * 10**6)]), "localhost", ()),
    }
    for told, arrival in arrivals.items():
        found = GUARDS.refusal(arrival, dialects.endpoint("POST", "/v1/files"))
        assert found is not None and (found.status, found.code) == told


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("//v1/messages", "use http://localhost as the base URL"),
        ("/api//v1/messages", "use http://localhost/api as the base URL"),
        ("/v1/messages/", "use /v1/messages behind your base URL"),
        ("//nowhere", "does your base URL end in '/'?"),
    ],
)
def test_a_slash_too_many_is_shown(path: str, hint: str) -> None:
    found = GUARDS.refusal(Arrival("POST", path, Headers(), "localhost", ()), dialects.endpoint("POST", path))

    assert found is not None and hint in found.message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/v1beta/models/g:unknownVerb"), ("POST", "/v1beta/models/g:frob"), ("POST", "/v1beta/models/g"),
        ("POST", "/v1beta/models/g:generate"), ("POST", "/v1beta/tunedModels/t:frob"), ("POST", "/v1/dynamic/d:frob"),
        ("POST", "/v1/projects/p/locations/l/publishers/google/models/g:frob"), ("POST", "/v1internal:frob"),
        ("POST", "/v1/projects/p/locations/l/endpoints/e:deployModel"), ("POST", "/v1beta/files/f:frob"),
    ],
)  # fmt: skip
def test_a_path_of_gemini_without_a_known_action_is_refused(method: str, path: str) -> None:
    """Such an action could administer the account, or run a model that no list of models was asked about."""
    endpoint = dialects.endpoint(method, path)
    found = GUARDS.refusal(Arrival(method, path, Headers(), "localhost", ()), endpoint)

    assert (endpoint.dialect, endpoint.model_source) == ("gemini", "unread")
    assert found is not None and "no known action" in found.message


def test_a_body_that_no_parser_reads_is_refused_in_words() -> None:
    found = body_too_deep()

    assert (found.status, found.code) == (400, "body_too_deep")
    assert found.message == "The JSON of the body is nested too deeply to be read"


def test_http2_without_tls_is_told_what_it_is() -> None:
    found = GUARDS.refusal(Arrival("PRI", "*", Headers(), "127.0.0.1:8080", ()), CHAT)
    assert found is not None and found.message.startswith("HTTP/2 without TLS is not supported here")


def test_a_method_of_bytes_that_are_no_text_is_refused() -> None:
    found = GUARDS.refusal(Arrival("G\udce9T", "/v1/models", Headers(), "127.0.0.1:8080", ()), CHAT)
    assert found is not None and (found.status, found.code) == (400, "method_unusable")
