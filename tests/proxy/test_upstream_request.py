"""The copy that goes upstream: the account's credential on it, and of the client's head what may leave."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from mitmproxy.connection import Server
from mitmproxy.http import Headers

from patchbay.proxy import upstream_request
from patchbay.proxy.upstream_request import check_destination
from patchbay.settings import reader
from patchbay.values import header_names
from patchbay.values.account import Account, CredentialForm
from patchbay.values.decision import Edit
from patchbay.values.http import Origin

from ..each_row import each_row
from .driven import CLIENT_KEY, KEY, Driven

FORMS = {
    "bearer": ("authorization", f"Bearer {KEY}"),
    "x-api-key": ("x-api-key", KEY),
    "x-goog-api-key": ("x-goog-api-key", KEY),
    "api-key": ("api-key", KEY),
}
GENERIC = 'provider: generic, base_url: "https://api.example.com/v1"'
GEMINI = "/v1beta/models/g:generateContent"
MESSAGES = "/v1/messages"


def provider(**settings: Any) -> str:
    """Return the settings of a provider `own`, for *more* of a Driven."""
    return (
        f"providers:\n  own: {json.dumps({'preset': 'generic', 'base_url': 'https://api.example.com/v1', **settings})}"
    )


# -- the credential ----------------------------------------------------------------------------------------------------


@each_row("form", FORMS)
@each_row("came", ["Authorization", "X-API-Key", "x-goog-api-key", "Api-Key", ""])
def test_the_credential_stands_in_the_form_of_the_provider_alone(form: str, came: str) -> None:
    given = [(came, CLIENT_KEY)] if came else []
    driven = Driven("provider: own", headers=given, more=provider(credential=form))
    sent = driven.sent()
    name, value = FORMS[form]

    assert sent.headers[name] == value
    assert {header for header, _ in FORMS.values()} & {field.lower() for field in sent.headers} == {name}
    assert CLIENT_KEY not in repr(sent.headers.fields) + sent.path
    assert KEY not in repr(driven.flow.get_state())


def test_every_form_of_a_credential_has_its_place() -> None:
    """A form without one raises, and the attempt fails closed: its key would otherwise stand in a URL."""
    assert {*upstream_request._HEADER_OF_FORM, "auto"} == set(get_args(CredentialForm))
    assert [form for form, header in upstream_request._HEADER_OF_FORM.items() if not header] == ["query"]


TICKET = {"header": "X-Acme-Ticket", "prefix": "Token "}


@each_row("came", ["Authorization", "X-API-Key", "X-Acme-Ticket", "x_acme", ""])
def test_the_credential_stands_in_the_header_that_the_settings_name(came: str) -> None:
    driven = Driven("provider: own", headers=[(came, CLIENT_KEY)] if came else [], more=provider(credential=TICKET))
    sent = driven.sent()

    assert sent.headers.get_all("x-acme-ticket") == [f"Token {KEY}"]
    assert not {header for header, _ in FORMS.values()} & {field.lower() for field in sent.headers}
    assert CLIENT_KEY not in repr(sent.headers.fields)
    assert CLIENT_KEY not in repr(driven.flow.get_state()) or came == "x_acme"
    assert KEY not in repr(driven.flow.get_state())


def test_a_header_that_carries_anothers_key_goes_to_nobody_else_unless_it_passes() -> None:
    """The first account goes up; the second is there for the header that its provider names."""
    second = "\n  - {id: second, provider: acme, key: example-2, enabled: false}"
    acme = f"\n  acme: {{preset: openai, credential: {json.dumps(TICKET)}}}"
    for passes, expected in (([], []), (["X-Acme-Ticket"], ["of the client"])):
        more = provider(pass_headers=passes) + acme
        driven = Driven("provider: own}" + second[:-1], headers=[("X-Acme-Ticket", "of the client")], more=more)

        assert driven.sent().headers.get_all("x-acme-ticket") == expected
        assert "of the client" not in repr(driven.flow.get_state())


def test_an_account_takes_the_place_that_the_client_used_also_one_of_the_settings() -> None:
    second = "\n  - {id: second, provider: acme, key: example-2, enabled: false}"
    acme = f"\n  acme: {{preset: openai, credential: {json.dumps(TICKET)}}}"
    driven = Driven("provider: own}" + second[:-1], headers=[("x-acme-ticket", "mine")], more=provider() + acme)
    sent = driven.sent(driven.places.form(driven.driver.request_headers(), "/") or "x-acme-ticket")

    assert sent.headers["x-acme-ticket"] == f"Token {KEY}"
    assert "authorization" not in sent.headers


@pytest.mark.parametrize("betas", ["claude-code-20250219", "oauth-2025-04-20,claude-code-20250219", ""])
def test_a_login_of_claude_code_goes_up_as_the_tool_sends_it(betas: str) -> None:
    """The client is pointed at us, and so sends a key and no mark of a login."""
    headers = [("X-Api-Key", CLIENT_KEY), *([("Anthropic-Beta", betas)] if betas else [])]
    token = "sk-ant-oat01-0123456789abcdef"
    sent = Driven("provider: claude_login", MESSAGES + "?beta=true", headers, key=token).sent("x-api-key")

    assert (sent.host, sent.path) == ("api.anthropic.com", "/v1/messages?beta=true")
    assert sent.headers["authorization"] == f"Bearer {token}" and "x-api-key" not in sent.headers
    expected = {*filter(None, betas.split(",")), "oauth-2025-04-20"}
    assert sorted(sent.headers["anthropic-beta"].split(",")) == sorted(expected)


def test_a_login_of_codex_goes_up_as_the_tool_sends_it() -> None:
    """Its own headers stay; the account's id comes from the file of the login, here from the settings."""
    own = [("Authorization", f"Bearer {CLIENT_KEY}"), ("originator", "codex_exec"), ("chatgpt-account-id", "theirs")]
    body = b'{"model": "gpt-5.1-codex", "stream": true, "store": false, "instructions": "i", "input": []}'
    sent = Driven("provider: codex_login, headers: {ChatGPT-Account-Id: acc-1}", "/v1/responses", own, body).sent()

    assert (sent.host, sent.path) == ("chatgpt.com", "/backend-api/codex/responses")
    assert (sent.headers["authorization"], sent.headers["originator"]) == (f"Bearer {KEY}", "codex_exec")
    assert sent.headers.get_all("chatgpt-account-id") == ["acc-1"]


@pytest.mark.parametrize("came", [f"&key={CLIENT_KEY}", ""])
def test_the_credential_of_a_query_is_in_the_path_alone(came: str) -> None:
    headers = [("Api-Key", "x" * 30)]
    driven = Driven("provider: own", GEMINI + "?a=1" + came, headers, more=provider(credential="query"))
    sent = driven.sent()

    assert sent.path.endswith(f":generateContent?a=1&key={KEY}")
    assert KEY not in repr(sent.headers.fields)
    assert "api-key" not in sent.headers
    assert KEY not in driven.flow.request.path


@pytest.mark.parametrize(
    ("path", "form", "header"),
    [
        ("/v1/chat/completions", "", "authorization"),
        (MESSAGES, "", "x-api-key"),
        (GEMINI, "", "x-goog-api-key"),
        (MESSAGES, "bearer", "authorization"),
        ("/v1/chat/completions", "api-key", "api-key"),
    ],
)
def test_without_a_form_of_its_own_a_provider_gets_the_clients_or_the_dialects(
    path: str, form: str, header: str
) -> None:
    sent = Driven(GENERIC, path).sent(form)

    assert KEY in sent.headers[header]


@pytest.mark.parametrize(("key", "header"), [("sk-ant-oat01-0123456789abcdef", "authorization"), (KEY, "x-api-key")])
def test_an_oauth_token_is_no_api_key(key: str, header: str) -> None:
    sent = Driven("provider: own", MESSAGES, key=key, more=provider(credential="x-api-key")).sent()

    assert key in sent.headers[header]
    assert {"authorization", "x-api-key"} & {name.lower() for name in sent.headers} == {header}


def test_the_headers_of_an_account_are_on_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND", "second-0123456789")
    driven = Driven(GENERIC + ', headers: {"X-Plain": "p", "X-Second": "Token env:SECOND"}')
    sent = driven.sent()

    assert (sent.headers["x-plain"], sent.headers["x-second"]) == ("p", "Token second-0123456789")
    assert "second-" not in repr(driven.flow.get_state())


def test_the_credential_stands_where_the_client_had_its_own() -> None:
    driven = Driven(headers=[("AUTHORIZATION", f"Bearer {CLIENT_KEY}"), ("X-Last", "1")])
    fields = [field for field in driven.sent().headers.fields if field[0] in (b"AUTHORIZATION", b"X-Last")]

    assert fields == [(b"AUTHORIZATION", f"Bearer {KEY}".encode()), (b"X-Last", b"1")]


def test_a_header_that_was_a_key_by_its_value_stays_here() -> None:
    sent = Driven(headers=[("X-Whatever", "sk-proj-" + "a1B2" * 12), ("X-Fine", "fine")]).sent()

    assert "x-whatever" not in sent.headers
    assert sent.headers["x-fine"] == "fine"


# -- what passes, and what stays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Cookie", "X-Patchbay-Session", "x-patchbay-anything", "Proxy-Authorization", "X-Auth-Token",
     "Sec-WebSocket-Extensions", "Proxy-Connection",
     *sorted(name.title() for name in (header_names.ACCOUNTS | header_names.HOPS) - {"connection"})],
)  # fmt: skip
def test_what_is_about_this_hop_or_reveals_an_account_stays_here(name: str) -> None:
    sent = Driven(headers=[(name, "some value"), ("X-Fine", "fine")]).sent()

    assert name not in sent.headers
    assert sent.headers["x-fine"] == "fine"


def test_fields_keep_their_order_spelling_and_bytes() -> None:
    sent = Driven(headers=[("X-B", "2"), ("USER-agent", "a/1"), ("x-b", "ü")]).sent()
    fields = [field for field in sent.headers.fields if field[0].lower() in (b"x-b", b"user-agent")]

    assert fields == [(b"X-B", b"2"), (b"USER-agent", b"a/1"), (b"x-b", "ü".encode())]


def test_the_ids_of_the_attempt_are_on_the_copy() -> None:
    driven = Driven()
    sent = driven.sent()

    assert driven.driver.lease
    assert sent.headers["x-patchbay-request-id"] == driven.driver.lease.request_id
    assert "x-patchbay-request-id" not in driven.flow.request.headers


def test_a_header_that_the_route_takes_off_is_gone() -> None:
    driven = Driven(headers=[("X-Gone", "1")])
    driven.open()
    lease = driven.driver.lease
    assert lease
    driven.driver.lease = replace(lease, edit=Edit((("X-Gone", None), ("X-New", "2")), lease.edit.path))
    sent = driven.sent()

    assert "x-gone" not in sent.headers
    assert sent.headers["x-new"] == "2"


@pytest.mark.parametrize(
    ("came", "alpn", "goes"),
    [("close", None, "keep-alive"), ("keep-alive", None, "keep-alive"), ("close", b"h2", None), (None, None, None)],
)
def test_the_connection_header_is_that_of_the_next_hop(came: str | None, alpn: bytes | None, goes: str | None) -> None:
    driven = Driven(headers=[("Connection", came)] if came else [])
    driven.server.alpn = alpn

    assert driven.sent().headers.get("connection") == goes


def test_an_upgrade_to_a_websocket_goes_up() -> None:
    driven = Driven(
        path="/v1/realtime", method="GET", body=b"", headers=[("Connection", "Upgrade"), ("Upgrade", "WebSocket")]
    )
    sent = driven.sent()

    assert (sent.headers["connection"], sent.headers["upgrade"]) == ("Upgrade", "WebSocket")


def test_other_upgrades_stay_here() -> None:
    sent = Driven(headers=[("Connection", "Upgrade"), ("Upgrade", "h2c")]).sent()

    assert "upgrade" not in sent.headers


@pytest.mark.parametrize(("came", "goes"), [(["gzip"], "identity"), ([], None)])
def test_an_answer_is_asked_for_uncompressed(came: list[str], goes: str | None) -> None:
    driven = Driven(headers=[("Accept-Encoding", value) for value in came])

    assert driven.sent().headers.get("accept-encoding") == goes


@pytest.mark.parametrize("names", [[], ["x-extra-token"]])
def test_a_provider_may_ask_for_headers_that_look_like_credentials(names: list[str]) -> None:
    driven = Driven("provider: own", headers=[("X-Extra-Token", "t" * 24)], more=provider(pass_headers=names))

    assert driven.sent().headers.get("x-extra-token") == ("t" * 24 if names else None)


def test_a_key_of_ours_passes_under_no_name() -> None:
    more = provider(pass_headers=["x-extra-token"], pass_query=["token"])
    driven = Driven(
        "provider: own",
        f"/v1/files?token={KEY}&a=1",
        method="GET",
        body=b"",
        headers=[("X-Extra-Token", KEY)],
        more=more,
    )
    sent = driven.sent()

    assert "x-extra-token" not in sent.headers
    assert sent.path == "/v1/files?a=1"


@pytest.mark.parametrize(("names", "path"), [([], "/v1/files?a=1"), (["token"], "/v1/files?token=tttttt&a=1")])
def test_a_provider_may_ask_for_parameters_that_look_like_credentials(names: list[str], path: str) -> None:
    driven = Driven(
        "provider: own", "/v1/files?token=tttttt&a=1", method="GET", body=b"", more=provider(pass_query=names)
    )

    assert driven.sent().path == path


@pytest.mark.parametrize("given", [False, True])
def test_the_parameters_of_an_address_that_patchbay_gave_go_up(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(GENERIC, "/v1/files?token=tttttt&key=kkkkkkkk&a=1", method="GET", body=b"")
    driven.open()
    monkeypatch.setattr(driven.router.addresses, "knows", lambda exchange, now: given)

    assert driven.sent().path == ("/v1/files?token=tttttt&a=1" if given else "/v1/files?a=1")


# -- where it goes -----------------------------------------------------------------------------------------------------


def test_the_copy_names_the_accounts_origin() -> None:
    driven = Driven('provider: generic, base_url: "https://other.example:8443/base/v1"')
    driven.flow.request.host, driven.flow.request.headers["host"] = "came.example", "came.example"
    sent = driven.sent()

    assert (sent.scheme, sent.host, sent.port) == ("https", "other.example", 8443)
    assert sent.headers["host"] == "other.example:8443"
    assert sent.path == "/base/v1/chat/completions"
    assert driven.flow.request.host == "came.example"


@pytest.mark.parametrize(
    ("via", "version", "authority"),
    [
        (None, "HTTP/1.1", ""),
        (("http", ("proxy.example", 3128)), "HTTP/1.1", "api.openai.com"),
        (None, "HTTP/2.0", "api.openai.com"),
    ],
)
def test_the_absolute_form_is_for_proxies(via: Any, version: str, authority: str) -> None:
    driven = Driven()
    driven.flow.request.authority, driven.flow.request.http_version = "came.example", version
    driven.server.via = via

    assert driven.sent().authority == authority


def test_a_path_that_was_edited_is_joined_anew() -> None:
    driven = Driven('provider: generic, base_url: "https://api.example.com/base/v1"')
    driven.open()
    driven.flow.request.path = "/v1/embeddings?x=1"

    assert driven.sent().path == "/base/v1/embeddings?x=1"


def test_a_path_that_was_not_edited_is_the_one_of_the_lease() -> None:
    driven = Driven()
    driven.open()
    lease = driven.driver.lease
    assert lease
    driven.driver.lease = replace(lease, edit=replace(lease.edit, path="/as/the/editor/said?x=1"))

    assert driven.sent().path == "/as/the/editor/said?x=1"


def test_a_path_that_was_edited_names_the_model_of_the_last_attempt() -> None:
    """Azure's path has the deployment, which is known only where the path's endpoint is."""
    more = provider(preset="azure", base_url="https://a.openai.azure.com", api_version="1")
    driven = Driven("provider: own", more=more)
    (attempt,) = driven.open().attempts
    driven.driver.exchange.attempts[:] = [  # type: ignore[union-attr]
        replace(attempt, lease=replace(attempt.lease, model=name)) for name in ("first", "last")
    ]
    driven.flow.request.path = "/v1/completions?x=1"

    assert driven.sent().path == "/openai/deployments/last/completions?x=1&api-version=1"


def account(url: str, **more: Any) -> Account:
    given = "".join(f", {name}: {value}" for name, value in more.items())
    text = f'accounts: [{{id: a, provider: generic, base_url: "{url}", key: {KEY}{given}}}]'
    return reader.load(text, "config.yaml").accounts[0]


SAFE, LOCAL = "https://api.example.com/v1", "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("url", "more", "server", "tls", "via", "verified", "wrong"),
    [
        (SAFE, {}, ("api.example.com", 443), True, None, True, ""),
        (SAFE, {}, ("API.example.com", 443), True, None, True, ""),
        (SAFE, {}, ("evil.example.com", 443), True, None, True, "origin"),
        (SAFE, {}, ("api.example.com", 8443), True, None, True, "origin"),
        (SAFE, {}, None, True, None, True, "origin"),
        (SAFE, {}, ("api.example.com", 443), False, None, True, "scheme"),
        (SAFE, {}, ("api.example.com", 443), True, None, False, "certificate"),
        (SAFE, {}, ("api.example.com", 443), True, "proxy.example", True, ""),
        (LOCAL, {}, ("127.0.0.1", 8000), False, None, False, ""),
        (LOCAL, {}, ("127.0.0.1", 8000), True, None, True, "scheme"),
        (LOCAL, {}, ("127.0.0.1", 8000), False, "127.0.0.1", True, ""),
        (LOCAL, {}, ("127.0.0.1", 8000), False, "proxy.example", True, "a proxy beyond this machine"),
        (LOCAL, {"insecure_http": "true"}, ("127.0.0.1", 8000), False, "proxy.example", True, ""),
        ("http://far.example/v1", {"insecure_http": "true"}, ("far.example", 80), False, None, True, ""),
    ],
)
def test_a_credential_goes_to_its_own_origin_alone(
    url: str,
    more: dict[str, str],
    server: tuple[str, int] | None,
    tls: bool,
    via: str | None,
    verified: bool,
    wrong: str,
) -> None:
    own = account(url, **more)
    connection = Server(address=server)
    connection.tls, connection.via = tls, ("http", (via, 3128)) if via else None
    assert own.origin is not None
    if wrong:
        with pytest.raises(PermissionError, match=wrong):
            check_destination(own, own.origin, connection, verified=verified)
    else:
        check_destination(own, own.origin, connection, verified=verified)


def test_plain_http_beyond_this_machine_is_refused_whatever_the_settings_said() -> None:
    far = Origin("http", "far.example", 80)

    with pytest.raises(PermissionError, match="beyond this machine"):
        check_destination(account(SAFE), far, Server(address=("far.example", 80)), verified=True)


def test_the_destination_is_checked_before_the_credential_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven()
    driven.open()
    driven.server.address = ("evil.example", 443)
    monkeypatch.setattr(driven.credentials, "value", lambda secret: pytest.fail("the key was read"))

    with pytest.raises(PermissionError):
        driven.sent()


# -- the body ----------------------------------------------------------------------------------------------------------

ALIAS = GENERIC + ", models: {aliases: {m: other-model}}"


def test_a_body_that_need_not_change_does_not() -> None:
    driven = Driven(headers=[("Content-Length", "63")])
    sent = driven.sent()

    assert driven.driver.wire_body(b"as it came") == b"as it came"
    assert sent.headers["content-length"] == "63"


def test_a_changed_body_has_its_own_length_and_no_coding() -> None:
    driven = Driven(ALIAS, headers=[("Content-Length", "63"), ("Transfer-Encoding", "chunked")])
    sent = driven.sent()
    body = driven.driver.wire_body(b"")

    assert json.loads(body)["model"] == "other-model"
    assert sent.headers["content-length"] == str(len(body))
    assert "transfer-encoding" not in sent.headers
    assert b'"model": "m"' in (driven.flow.request.raw_content or b"")


def test_a_body_that_was_edited_is_changed_anew() -> None:
    driven = Driven(ALIAS)
    driven.open()
    driven.flow.request.content = b'{"model": "m", "edited": true}'
    driven.sent()

    assert json.loads(driven.driver.wire_body(b"")) == {"model": "other-model", "edited": True}


def test_an_edited_body_that_cannot_be_changed_goes_as_it_is() -> None:
    driven = Driven(ALIAS)
    driven.open()
    driven.flow.request.content = b"no json"
    sent = driven.sent()

    assert driven.driver.wire_body(b"no json") == b"no json"
    assert sent.headers["content-length"] == "7"


def test_an_edited_body_of_a_request_without_changes_goes_as_it_is() -> None:
    driven = Driven(headers=[("Transfer-Encoding", "chunked")])
    driven.open()
    driven.flow.request.raw_content = b'{"model": "m", "edited": true}'
    sent = driven.sent()

    assert driven.driver.wire_body(b"as edited") == b"as edited"
    assert (sent.headers.get("transfer-encoding"), sent.headers.get("content-length")) == ("chunked", None)


@pytest.mark.parametrize(("edited", "goes"), [(b"", b"the editor's"), (b'{"model": "m"}', b'{"model": "other-model"}')])
def test_only_a_body_that_was_edited_is_changed_again(edited: bytes, goes: bytes) -> None:
    driven = Driven(ALIAS)
    driven.open()
    lease = driven.driver.lease
    assert lease
    driven.driver.lease = replace(lease, body=b"the editor's")
    driven.flow.request.raw_content = edited or driven.flow.request.raw_content
    driven.sent()

    assert driven.driver.wire_body(b"") == goes


@pytest.mark.parametrize(
    ("given", "stream", "body", "alpn", "framed"),
    [
        ((), False, b"12345", None, ("5", None)),
        ((), True, b"", None, (None, "chunked")),
        ((), False, b"", None, (None, None)),
        ((("Content-Length", "5"),), True, b"12345", None, ("5", None)),
        ((("Transfer-Encoding", "chunked"),), True, b"12345", None, (None, "chunked")),
        ((("Transfer-Encoding", "chunked"),), True, b"12345", b"h2", (None, None)),
        ((), False, b"12345", b"h2", (None, None)),
    ],
)
def test_the_body_is_framed_in_the_protocol_of_the_upstream(
    given: tuple[tuple[str, str], ...],
    stream: bool,
    body: bytes,
    alpn: bytes | None,
    framed: tuple[str | None, str | None],
) -> None:
    driven = Driven(path="/v1/files", body=body, headers=given)
    driven.flow.request.headers = Headers(
        [field for field in driven.flow.request.headers.fields if field[0] != b"content-length"]
    )
    driven.open()
    driven.flow.request.stream = stream
    driven.server.alpn = alpn
    sent = driven.sent()

    assert (sent.headers.get("content-length"), sent.headers.get("transfer-encoding")) == framed
