"""Each event of mitmproxy: what is attached to the flow, what is answered at once, and that no failure lets it out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.flow import Error
from mitmproxy.http import Headers
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay.accounts.outcome import Outcome
from patchbay.proxy import (
    client_connections,
    hooks,
    persistence,
    request_head,
    tls_passthrough,
    upstream_connections,
    upstream_layer,
)
from patchbay.proxy.credentials import KeyUnavailable
from patchbay.proxy.graceful_shutdown import GracefulShutdown
from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.in_flight import driver_of
from patchbay.proxy.shadow import Passthrough, ShadowDriver
from patchbay.values.answer import Head
from patchbay.values.decision import Wait
from patchbay.values.http import Headers as Fields

from .addon import (
    ACCOUNTS,
    CLIENT_KEY,
    answer,
    ask,
    driver,
    error_of,
    flow,
    in_loop,
    patchbay,
    patchbay_of_a_fixture,
    service,
)

MODEL = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM = MODEL | {"stream": True}


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[Patchbay]:
    with patchbay_of_a_fixture(tmp_path) as made:
        yield made


async def answered(addon: Patchbay, body: bytes = b'{"id": "x"}', status: int = 200, **headers: str) -> Any:
    """Ask, and let the head of an upstream's answer come."""
    asked = await ask(addon, flow())
    answer(asked, body, status, **headers)
    addon.responseheaders(asked)
    return asked


# -- requests ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_request_gets_a_route_and_the_flow_a_placeholder(addon: Patchbay) -> None:
    asked = await ask(addon, flow(body=MODEL))

    assert asked.response is None
    route = driver(asked).lease
    assert route is not None and route.account.id in ("one", "two")
    assert asked.request.headers["authorization"] == f"Bearer patchbay:{route.account.id}"
    assert (asked.request.host, asked.request.port) == ("127.0.0.1", 9)
    assert addon._in_flight.flows == {driver(asked): asked}


@in_loop
async def test_what_is_not_live_is_left_alone(addon: Patchbay) -> None:
    """Flows that are loaded from a file pass the same hooks."""
    asked = flow()
    asked.live = False
    await ask(addon, asked)

    assert not hasattr(asked, "patchbay")
    assert CLIENT_KEY in asked.request.headers["authorization"]


@in_loop
async def test_what_no_account_serves_passes_in_regular_mode(addon: Patchbay) -> None:
    asked = flow("/whatever", host="example.com")
    asked.request.host = "example.com"
    await ask(addon, asked)

    assert isinstance(asked.patchbay, Passthrough)  # type: ignore[attr-defined]
    assert CLIENT_KEY not in repr(asked.get_state())
    assert asked.patchbay.wire_request(asked.request).headers["authorization"] == f"Bearer {CLIENT_KEY}"  # type: ignore[attr-defined]


@in_loop
async def test_behind_a_reverse_listener_it_is_refused(tmp_path: Path) -> None:
    with patchbay(tmp_path, mode=["reverse:http://127.0.0.1:9999"]) as addon:
        asked = flow("/whatever", mode="reverse:http://127.0.0.1:9999", expect="100-continue")
        asked.request.port = 9999
        await ask(addon, asked)

    assert error_of(asked)[0] == 404
    assert "not_an_llm_path" in error_of(asked)[1]
    assert "expect" not in asked.request.headers


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 404)])
@in_loop
async def test_a_probe_of_the_root_is_answered_where_there_is_no_one_upstream(
    tmp_path: Path, method: str, status: int
) -> None:
    mode = "reverse:http://patchbay.invalid"
    with patchbay(tmp_path, mode=[mode]) as addon:
        asked = flow("/", mode=mode, host="127.0.0.1:8080")
        asked.request.method, asked.request.host, asked.request.port = method, "patchbay.invalid", 80
        await ask(addon, asked)

    assert error_of(asked)[0] == status


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "evil.example"}, 403, "host_not_allowed"),
        ({"origin": "https://evil.example"}, 403, "cross_site"),
        ({"content_length": "999999999999"}, 413, "too_large"),
    ],
)
@in_loop
async def test_a_head_that_is_refused_gets_no_route(
    addon: Patchbay, headers: dict[str, str], status: int, code: str
) -> None:
    asked = flow()
    for name, value in headers.items():
        asked.request.headers[name.replace("_", "-")] = value
    await ask(addon, asked)

    assert error_of(asked)[0] == status
    assert code in error_of(asked)[1]
    assert driver(asked).client is None
    assert CLIENT_KEY not in repr(asked.get_state())


@in_loop
async def test_a_path_that_cannot_be_used_is_logged_too(addon: Patchbay, caplog: pytest.LogCaptureFixture) -> None:
    asked = await ask(addon, flow("/v1//x/../chat/completions"))

    assert "path_unusable" in error_of(asked)[1]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


@in_loop
async def test_another_refusal_of_a_head_is_not_logged(addon: Patchbay, caplog: pytest.LogCaptureFixture) -> None:
    asked = await ask(addon, flow(origin="https://page.example"))

    assert error_of(asked)[0] == 403
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("settings", "path", "untouched"),
    [
        ("", "/whatever", True),  # it passes
        ("", "/v1/chat/completions", False),
        ("mode: shadow", "/v1/chat/completions", True),
        ("mode: shadow", "/whatever", True),
    ],
)
@in_loop
async def test_only_what_no_account_gets_keeps_its_host_as_mitmproxy_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, path: str, untouched: bool
) -> None:
    told: list[tuple[object, object]] = []
    monkeypatch.setattr(hooks.option_defaults, "untouched", lambda *given: told.append(given))
    with patchbay(tmp_path, settings + ACCOUNTS) as addon:
        asked = flow(path, host="example.com" if untouched else "127.0.0.1:9")
        if untouched:
            asked.request.host = "example.com"
        await ask(addon, asked)

    assert told == ([(asked.request, asked.client_conn.proxy_mode)] if untouched else [])


@pytest.mark.parametrize(("shared", "new", "asks"), [(True, True, 2), (True, False, 1), (False, True, 1)])
@in_loop
async def test_an_unknown_conversation_is_looked_up_again_where_other_instances_may_know_it(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, shared: bool, new: bool, asks: int
) -> None:
    told: list[object] = []

    async def caught_up(_: object, seconds: float = 0.5) -> float:
        told.append(seconds)
        return 0.25

    monkeypatch.setattr(persistence.Persistence, "shared", shared)
    monkeypatch.setattr(persistence.Persistence, "caught_up", caught_up)
    monkeypatch.setattr(persistence, "NEW", 0.125)
    waited: list[float] = []
    rest = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: waited.append(seconds) or rest(0))
    router = service(addon).router
    monkeypatch.setattr(router, "is_new", lambda *_: new)
    again: list[object] = []
    monkeypatch.setattr(router, "identify_again", lambda exchange, _: again.append(exchange))
    asked = await ask(addon, flow())

    assert told == [0.5, 0.25][:asks]
    assert (0.125 in waited) is (asks == 2), "another instance may be writing it"
    assert again == ([driver(asked).exchange] if asks == 2 else [])


@in_loop
async def test_a_client_without_a_key_of_the_settings_is_refused(tmp_path: Path) -> None:
    with patchbay(tmp_path, "clients: [{name: ann, key: sk-ann-0123456789abcdef}]" + ACCOUNTS) as addon:
        refused = await ask(addon, flow())
        served = await ask(addon, flow(authorization="Bearer sk-ann-0123456789abcdef"))

    assert error_of(refused)[0] == 401
    assert served.response is None and driver(served).client is not None


@in_loop
async def test_a_page_that_is_allowed_gets_its_preflight(tmp_path: Path) -> None:
    with patchbay(tmp_path, "allowed_origins: ['https://page.example']" + ACCOUNTS) as addon:
        asked = flow(origin="https://page.example", access_control_request_method="POST")
        asked.request.method = "OPTIONS"
        await ask(addon, asked)
        served = await ask(addon, flow(origin="https://page.example"))
        response = answer(served)
        addon.responseheaders(served)

    assert error_of(asked)[0] == 204
    assert response.headers["access-control-allow-origin"] == "https://page.example"


@in_loop
async def test_while_it_shuts_down_no_request_is_taken(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GracefulShutdown, "begun", True)
    asked = await ask(addon, flow())

    assert error_of(asked)[0] == 503
    assert "shutting_down" in error_of(asked)[1]


@in_loop
async def test_a_connect_to_a_listener_that_is_no_proxy_goes_nowhere(
    addon: Patchbay, caplog: pytest.LogCaptureFixture
) -> None:
    asked = flow(mode="reverse:http://127.0.0.1:9")
    asked.request.method = "CONNECT"
    await addon.requestheaders(asked)

    assert asked.response is None  # mitmproxy itself refuses it
    assert asked.patchbay is None  # type: ignore[attr-defined]
    assert "is no HTTP proxy" in caplog.text
    assert CLIENT_KEY not in repr(asked.get_state())


@in_loop
async def test_a_proxy_that_is_taken_for_its_provider_says_so(addon: Patchbay) -> None:
    asked = flow(host="127.0.0.1:8080")
    asked.request.port = 8080
    asked.server_conn.address = None
    await addon.requestheaders(asked)

    assert error_of(asked)[0] == 400
    assert "not_a_base_url" in error_of(asked)[1]
    assert asked.patchbay is None  # type: ignore[attr-defined]


@in_loop
async def test_an_upload_streams_and_is_routed_by_its_head(addon: Patchbay) -> None:
    asked = flow("/v1/files", b"", content_type="multipart/form-data; boundary=x")
    asked.request.headers["content-length"] = "9999999"
    await addon.requestheaders(asked)

    assert asked.response is None
    assert asked.request.stream is True
    assert driver(asked).lease is not None
    exchange = driver(asked).exchange
    await addon.request(asked)
    assert driver(asked).exchange is exchange  # it is not opened twice


@in_loop
async def test_a_body_that_is_nested_too_deep_is_refused(addon: Patchbay) -> None:
    asked = await ask(addon, flow(body=b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"))

    assert error_of(asked)[0] == 400


@in_loop
async def test_a_body_that_cannot_be_decoded_is_refused_and_dropped(addon: Patchbay) -> None:
    asked = await ask(addon, flow(body=b"no gzip", content_encoding="gzip"))

    assert error_of(asked)[0] == 400
    assert asked.request.raw_content == b""


@in_loop
async def test_a_replay_without_a_credential_that_would_pass_is_refused(addon: Patchbay) -> None:
    asked = flow("/whatever", host="example.com", authorization="Bearer patchbay")
    asked.request.host, asked.is_replay = "example.com", "request"
    await ask(addon, asked)

    assert error_of(asked)[0] == 400
    assert "credential_not_kept" in error_of(asked)[1]


@in_loop
@pytest.mark.parametrize("path", ["/whatever", "/v1/chat/completions"])  # the first passes, the second is observed
@pytest.mark.parametrize("replayed", ["request", "response"])
async def test_a_replay_with_the_users_own_credential_goes_out_with_it(
    tmp_path: Path, path: str, replayed: str
) -> None:
    with patchbay(tmp_path, "mode: shadow" + ACCOUNTS) as addon:
        asked = flow(path, host="example.com")
        asked.request.host, asked.request.port, asked.is_replay = "example.com", 80, replayed
        await ask(addon, asked)

        assert asked.response is None
        assert CLIENT_KEY not in repr(asked.get_state())
        sent = asked.patchbay.redacted_heads if path == "/whatever" else driver(asked).redacted_heads  # type: ignore[attr-defined]
        assert sent.with_credentials(asked.request).headers["authorization"] == f"Bearer {CLIENT_KEY}"


@in_loop
async def test_a_request_that_is_no_replay_may_hold_what_looks_like_a_placeholder(addon: Patchbay) -> None:
    asked = flow("/whatever", host="example.com", authorization="Bearer patchbay")
    asked.request.host = "example.com"
    await ask(addon, asked)

    assert asked.response is None


@in_loop
async def test_a_key_in_the_path_is_no_part_of_the_endpoint(addon: Patchbay) -> None:
    asked = await ask(addon, flow(f"/v1/{CLIENT_KEY}/chat/completions"))

    assert CLIENT_KEY not in asked.request.path
    assert CLIENT_KEY not in driver(asked).target.endpoint.suffix


# -- routes -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_an_account_without_its_key_is_left_for_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = ACCOUNTS.replace("sk-account-one-0123456789", f"file:{tmp_path / 'missing'}")
    with patchbay(tmp_path, settings) as addon:
        for number in range(4):
            asked = await ask(addon, flow(x_session_id=str(number)))
            route = driver(asked).lease
            assert route is not None and route.account.id == "two"
    assert "account one: file:" in caplog.text


@in_loop
async def test_a_request_that_no_account_can_serve_is_refused(tmp_path: Path) -> None:
    with patchbay(tmp_path, ACCOUNTS.replace("key:", "models: [other], key:")) as addon:
        asked = await ask(addon, flow())
        assert error_of(asked)[0] == 404
        assert driver(asked).exchange is not None and driver(asked).lease is None
        await addon.response(asked)
        assert asked.metadata["patchbay.status"] == 404


@in_loop
@pytest.mark.parametrize("left", [True, False])
async def test_a_request_waits_for_its_turn_unless_its_client_leaves(tmp_path: Path, left: bool) -> None:
    one = ACCOUNTS.partition("  - {id: two")[0].replace("key:", "max_concurrent: 1, key:")
    with patchbay(tmp_path, one) as addon:
        first, second = await ask(addon, flow(x_session_id="a")), flow(x_session_id="b")
        waiting = asyncio.create_task(ask(addon, second))
        while driver_of(second) is None or driver(second).exchange is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        if left:
            driver(second).client_left()
        else:
            first.error = Error("gone")
            addon.error(first)
        await waiting

    assert (second.response is not None and error_of(second)[0] == 499) if left else second.response is None


@in_loop
async def test_the_next_attempt_gets_another_account(addon: Patchbay) -> None:
    asked = await ask(addon, flow())
    exchange, first = driver(asked).exchange, driver(asked).lease
    assert exchange and first
    service(addon).router.answered(exchange, Head(429, Fields()), 1.0)
    wanted = SimpleNamespace(flow=asked, again=False, instead=None)

    await addon.patchbay_next(wanted)  # type: ignore[arg-type]

    second = driver(asked).lease
    assert wanted.again is True
    assert second and second.account.id != first.account.id
    assert asked.request.headers["authorization"].endswith(second.account.id)


@pytest.mark.parametrize("left", [True, False])
@in_loop
async def test_no_further_attempt_for_a_client_that_left_or_where_the_step_fails(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left: bool
) -> None:
    asked = await ask(addon, flow())
    if left:
        driver(asked).client_left()
    else:
        monkeypatch.setattr(Patchbay, "_next_lease", None)
    wanted = SimpleNamespace(flow=asked, again=False, instead=None)

    await addon.patchbay_next(wanted)  # type: ignore[arg-type]

    assert wanted.again is False
    assert ("patchbay_next failed: TypeError" in caplog.text) is not left


@in_loop
async def test_a_key_that_was_refused_is_read_again(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("sk-old-0123456789abcdef")
    one = f"accounts: [{{id: one, provider: generic, base_url: 'http://127.0.0.1:9', key: 'file:{key}'}}]"
    with patchbay(tmp_path, one) as addon:
        asked = await ask(addon, flow())
        exchange = driver(asked).exchange
        assert exchange
        exchange.attempts[-1].outcome = Outcome("auth", scope="account")
        key.write_text("sk-new-0123456789abcdef")

        await addon._reread(driver(asked))

        assert addon._keys.value(exchange.attempts[-1].lease.account.secret) == "sk-new-0123456789abcdef"


@pytest.mark.parametrize(
    ("outcome", "read"),
    [
        (None, False),
        (Outcome("auth", scope="account"), True),
        (Outcome("auth", scope="exchange"), False),
        (Outcome("rate_limit", scope="account"), False),
    ],
)
@pytest.mark.parametrize("changed", [True, False])
@in_loop
async def test_only_an_account_that_was_refused_has_its_key_read_again(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None, read: bool, changed: bool
) -> None:
    asked = await ask(addon, flow())
    exchange, lease = driver(asked).exchange, driver(asked).lease
    assert exchange and lease
    exchange.attempts[-1].outcome = outcome
    told: list[object] = []

    async def refresh(secret: object) -> bool:
        told.append(secret)
        return False  # another request has read it meanwhile, or its file is the same

    driver(asked).sent_with = ("former",) if changed else addon._keys.state_of(lease.account.secrets)
    monkeypatch.setattr(addon._keys, "refresh", refresh)
    renewed: list[object] = []
    monkeypatch.setattr(service(addon).router, "secret_changed", lambda *given: renewed.append(given))
    await addon._reread(driver(asked))

    assert told == ([lease.account.secret] if read else [])
    assert renewed == ([(exchange, lease.account.id)] if read and changed else [])


@in_loop
async def test_a_request_that_waited_is_asked_again_what_its_client_may(tmp_path: Path) -> None:
    with patchbay(tmp_path, "clients: [{name: ann, key: sk-ann-0123456789abcdef}]" + ACCOUNTS) as addon:
        asked = await ask(addon, flow(authorization="Bearer sk-ann-0123456789abcdef"))
        exchange = driver(asked).exchange
        assert exchange and addon._not_allowed_now(asked, exchange) is None
        (known,) = service(addon).clients
        service(addon).clients = (replace(known, key=replace(known.key, models=("other",))),)
        refused = addon._not_allowed_now(asked, exchange)
        service(addon).clients = (replace(known, value=b"sk-another-0123456789"),)
        gone = addon._not_allowed_now(asked, exchange)
        asked.is_replay = "request"
        assert addon._not_allowed_now(asked, exchange) is None

    assert refused is not None and refused.code == "model_not_allowed"
    assert gone is not None and gone.status == 401


@in_loop
async def test_a_request_that_waits_is_woken_by_what_its_exchange_is_told(addon: Patchbay) -> None:
    asked = await ask(addon, flow())
    exchange = driver(asked).exchange
    assert exchange
    driver(asked).recheck.clear()
    exchange.recheck()

    assert driver(asked).recheck.is_set()


@pytest.mark.parametrize("gone", [True, False])
@in_loop
async def test_a_request_that_waited_is_refused_where_its_client_may_not_send_it_any_more(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    router = service(addon).router
    decide, waits = router.next, iter((Wait(0.0),))
    monkeypatch.setattr(router, "next", lambda *given: next(waits, None) or decide(*given))
    monkeypatch.setattr(hooks, "_wait", lambda *_: asyncio.sleep(0, result=True))
    monkeypatch.setattr(Patchbay, "_not_allowed_now", lambda *_: hooks.clients.GONE if gone else None)
    asked = await ask(addon, flow())

    assert next(waits, None) is None
    assert (driver(asked).lease is None) is gone
    assert (error_of(asked)[0] == 401) if gone else asked.response is None


# -- shadow -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_in_shadow_all_is_decided_and_nothing_is_changed(tmp_path: Path) -> None:
    with patchbay(tmp_path, "mode: shadow" + ACCOUNTS) as addon:
        asked = await ask(addon, flow())
        assert isinstance(driver_of(asked), ShadowDriver)
        assert driver(asked).lease is not None
        response = answer(asked, b"data: {}\n\n", content_type="text/event-stream")
        addon.responseheaders(asked)
        assert response.stream is True
        assert not any(name.startswith("x-patchbay") for name in response.headers)
        await addon.response(asked)

    assert asked.metadata["patchbay.mode"] == "shadow"


@in_loop
@pytest.mark.parametrize("passes", [True, False])  # what does not pass is observed
async def test_the_answer_to_what_no_account_gets_keeps_no_cookie_in_the_flow(tmp_path: Path, passes: bool) -> None:
    with patchbay(tmp_path, "mode: shadow" + ACCOUNTS) as addon:
        asked = flow("/whatever", host="example.com")
        asked.request.host = "example.com" if passes else asked.request.host
        await ask(addon, asked)
        assert isinstance(asked.patchbay, Passthrough) is passes  # type: ignore[attr-defined]
        response = answer(asked, b"<p>", content_type="text/html", set_cookie="session=sk-secret-0123456789")
        addon.responseheaders(asked)

    assert "sk-secret" not in repr(response.headers)


@in_loop
async def test_in_shadow_a_request_that_would_be_refused_goes_on(tmp_path: Path) -> None:
    with patchbay(tmp_path, "mode: shadow" + ACCOUNTS) as addon:
        asked = await ask(addon, flow(body=b"no gzip", content_encoding="gzip"))
        assert asked.response is None and asked.request.raw_content == b"no gzip"
        replayed = flow(authorization="Bearer patchbay")
        replayed.is_replay = "request"
        await ask(addon, replayed)

    assert "credential_not_kept" in error_of(replayed)[1]


# -- answers ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_an_answer_names_the_account_and_hides_what_reveals_it(addon: Patchbay) -> None:
    asked = await answered(addon, openai_organization="org-1", x_patchbay_account="forged", connection="keep-alive")
    headers = asked.response.headers

    assert headers["x-patchbay-account"] == driver(asked).lease.account.id  # type: ignore[union-attr]
    assert headers["x-patchbay-request-id"].startswith("pb1-")
    assert "openai-organization" not in headers
    assert asked.response.stream is False


@in_loop
async def test_an_answer_in_one_piece_gets_its_verdict(addon: Patchbay) -> None:
    asked = await answered(addon)
    asked.response.trailers = Headers([(b"x-patchbay-forged", b"1"), (b"x-fine", b"1")])
    await addon.response(asked)

    assert asked.response.headers["x-patchbay-verdict"] in ("clean", "unverifiable")
    assert list(asked.response.trailers) == ["x-fine"]
    assert driver(asked).closed
    assert addon._in_flight.count() == 0
    assert asked.metadata["patchbay.status"] == 200


@in_loop
async def test_an_answer_in_one_piece_is_rewritten_for_its_client(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await answered(addon)
    monkeypatch.setattr(driver(asked), "rewrite_body", lambda response: setattr(response, "raw_content", b"[]"))
    await addon.response(asked)

    assert asked.response.raw_content == b"[]"


@in_loop
async def test_an_error_behind_half_an_answer_in_one_piece_keeps_what_the_flow_has(addon: Patchbay) -> None:
    asked = await answered(addon)
    asked.error = Error("reset")
    addon.error(asked)

    assert asked.response.raw_content == b'{"id": "x"}'


@in_loop
async def test_in_shadow_an_answer_in_one_piece_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patchbay(tmp_path, "mode: shadow" + ACCOUNTS) as addon:
        asked = await answered(addon, x_request_id="theirs")
        asked.response.trailers = Headers(x_patchbay_account="a", openai_organization="o")
        rewritten: list[object] = []
        monkeypatch.setattr(driver(asked), "rewrite_body", rewritten.append)
        before = asked.response.headers.fields, asked.response.trailers.fields
        await addon.response(asked)

        assert rewritten == []
        assert (asked.response.headers.fields, asked.response.trailers.fields) == before


@in_loop
async def test_what_an_answer_in_one_piece_weighs_is_both_its_bodies(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(addon._memory_trim, "exchange_ended", sizes.append)
    asked = await answered(addon)
    rewritten: list[object] = []
    monkeypatch.setattr(driver(asked), "rewrite_body", rewritten.append)
    await addon.response(asked)
    await addon.response(asked)  # it is closed once

    assert rewritten == [asked.response, asked.response]
    assert sizes == [len(asked.request.raw_content or b"") + len(asked.response.raw_content)]
    asked.response = None
    assert hooks._size(asked) == len(asked.request.raw_content or b"")


@in_loop
async def test_a_stream_goes_out_as_it_comes_and_the_flow_keeps_a_copy(addon: Patchbay) -> None:
    asked = await answered(addon, b"", content_type="text/event-stream")
    assert asked.response.stream is True
    driver(asked).deliver(b"data: {}\n\n")
    await addon.response(asked)

    assert asked.response.raw_content == b"data: {}\n\n"
    assert "x-patchbay-verdict" not in asked.response.headers
    assert driver(asked).event_buffer is None


@in_loop
async def test_where_streams_may_be_cut_they_pass_in_whole_events(tmp_path: Path) -> None:
    with patchbay(tmp_path, "crosstalk: {reaction: block}" + ACCOUNTS) as addon:
        asked = await answered(addon, b"", content_type="text/event-stream")
        assert driver(asked).event_buffer is not None
        one_piece = await answered(addon)
        assert driver(one_piece).event_buffer is None


REPEATS = ACCOUNTS.replace("generic", "own") + "providers: {own: {preset: openai, echo: metadata}}"


@in_loop
@pytest.mark.parametrize(
    "kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8", "text/plain", "application/json"]
)
async def test_a_stream_with_our_id_passes_without_it_whatever_its_type_and_its_pieces(
    tmp_path: Path, kind: str
) -> None:
    text = b'{"metadata":{"a":{"b":"1"},"pb":"pb1-' + b"0" * 48 + b'"},"filler":"' + b"x" * (1 << 20) + b'"}'
    whole = b"data: " + text + b"\n\n"
    with patchbay(tmp_path, REPEATS) as addon:
        asked = await ask(addon, flow("/v1/responses", {"model": "m", "input": "hi", "stream": True}))
        response = answer(asked, b"", content_type=kind)
        addon.responseheaders(asked)
        pieces = [driver(asked).deliver(whole[at : at + 65_536]) for at in range(0, len(whole), 65_536)]
        passed = b"".join(map(driver(asked).client_body, [*pieces, driver(asked).deliver_rest()]))

    assert passed == whole.replace(b',"pb":"pb1-' + b"0" * 48 + b'"', b"")
    assert "content-length" not in response.headers


@in_loop
async def test_a_stream_of_other_endpoints_holds_no_id_of_ours(tmp_path: Path) -> None:
    with patchbay(tmp_path, REPEATS) as addon:
        asked = await answered(addon, b"", content_type="text/event-stream")

    assert driver(asked).event_buffer is None
    assert "content-length" in asked.response.headers


@in_loop
async def test_an_answer_of_ours_is_left_as_it_is(addon: Patchbay) -> None:
    asked = await ask(addon, flow())
    asked.response = driver(asked).error_response(hooks._CLIENT_LEFT)
    before = asked.response.headers.fields
    addon.responseheaders(asked)

    assert asked.response.headers.fields == before
    assert not driver(asked).head_taken


@in_loop
async def test_an_error_closes_the_exchange(addon: Patchbay) -> None:
    asked = await ask(addon, flow())
    asked.error = Error("Client disconnected.")
    addon.error(asked)

    assert asked.metadata["patchbay.error"] == "Client disconnected."
    assert addon._in_flight.count() == 0


@in_loop
async def test_an_error_behind_a_streamed_answer_keeps_what_came(addon: Patchbay) -> None:
    asked = await answered(addon, b"", content_type="text/event-stream")
    driver(asked).deliver(b"data: {}\n\n")
    asked.error = Error("reset")
    addon.error(asked)
    assert asked.response.raw_content == b"data: {}\n\n"

    gone = await answered(addon, b"", content_type="text/event-stream")
    gone.response, gone.error = None, Error("reset")
    addon.error(gone)
    assert gone.metadata["patchbay.error"] == "reset"


# -- failures ---------------------------------------------------------------------------------------------------------


def _fails(*_: object, **__: object) -> None:
    raise ValueError("broken")


@in_loop
async def test_a_hook_that_fails_answers_and_keeps_no_credential(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_head, "read", _fails)
    asked = flow()
    await addon.requestheaders(asked)

    assert error_of(asked)[0] == 502
    assert asked.patchbay is None  # type: ignore[attr-defined]
    assert CLIENT_KEY not in repr(asked.get_state())
    assert "requestheaders failed: ValueError" in caplog.text


@in_loop
async def test_a_request_hook_that_fails_leaves_no_route(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patchbay, "_next_lease", _fails)
    asked = await ask(addon, flow())

    assert error_of(asked)[0] == 502
    assert driver(asked).lease is None and driver(asked).closed
    assert asked.metadata["patchbay.error"] == "patchbay_failed"
    assert addon._in_flight.count() == 0


@in_loop
async def test_a_failure_behind_the_head_of_an_answer_kills_the_flow(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body would be poured into an answer of ours."""
    monkeypatch.setattr(hooks.response_head, "for_client", _fails)
    asked = await answered(addon)

    assert asked.error is not None and asked.error.msg == Error.KILLED_MESSAGE
    assert driver(asked).lease is None


@in_loop
async def test_before_there_are_settings_every_request_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    asked = flow()
    await Patchbay().requestheaders(asked)

    assert error_of(asked)[0] == 502
    assert caplog.messages == ["requestheaders failed: RuntimeError"]
    assert CLIENT_KEY not in repr(asked.get_state())


def test_what_is_no_request_passes_nothing_where_the_decision_fails(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_passthrough, "next_layer", _fails)
    decided = SimpleNamespace(context=upstream_stream_context(), layer=None)
    addon.next_layer(decided)  # type: ignore[arg-type]

    assert isinstance(decided.layer, upstream_layer.Closed)
    assert "next_layer failed: ValueError" in caplog.text


def upstream_stream_context() -> Any:
    from mitmproxy.proxy import context

    return context.Context(tflow.tclient_conn(), SimpleNamespace())  # type: ignore[arg-type]


# -- WebSockets -------------------------------------------------------------------------------------------------------


async def socket(addon: Patchbay) -> Any:
    asked = await ask(addon, flow())
    asked.websocket = tflow.twebsocketflow().websocket
    assert asked.websocket
    asked.websocket.messages.clear()
    addon.websocket_start(asked)
    return asked


@in_loop
async def test_a_socket_is_known_from_its_start_to_its_end(addon: Patchbay) -> None:
    asked = await socket(addon)
    assert list(addon._in_flight.sockets) == [driver(asked)]
    addon.websocket_start(asked)  # again, as after a reload of the script
    assert len(addon._in_flight.sockets) == 1
    addon.websocket_end(asked)

    assert addon._in_flight.sockets == {}


@in_loop
async def test_a_message_whose_hook_fails_is_dropped(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await socket(addon)
    before, message = (WebSocketMessage(Opcode.TEXT, True, b"{}") for _ in range(2))
    asked.websocket.messages += [before, message]
    monkeypatch.setattr(Patchbay, "_socket", _fails)
    await addon.websocket_message(asked)

    assert (before.dropped, message.dropped) == (False, True)


@in_loop
async def test_sockets_that_are_not_ours_are_left_alone(addon: Patchbay) -> None:
    other = tflow.twebsocketflow()
    addon.websocket_start(other)
    await addon.websocket_message(other)
    addon.websocket_end(other)

    assert other.websocket and not other.websocket.messages[-1].dropped
    assert addon._in_flight.sockets == {}


# -- connections ------------------------------------------------------------------------------------------------------


@in_loop
async def test_what_a_client_that_left_has_open_is_ended(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_LOST_AFTER", 0.0)
    asked, other, ended = await ask(addon, flow()), await ask(addon, flow()), await socket(addon)
    addon.client_disconnected(asked.client_conn)
    addon.client_disconnected(ended.client_conn)
    await asyncio.sleep(0.01)

    assert asked.metadata["patchbay.error"] == "the client left"
    assert list(addon._in_flight.flows) == [driver(other)]
    assert addon._in_flight.sockets == {}


@in_loop
async def test_where_the_start_was_refused_no_client_connects() -> None:
    addon, client = Patchbay(), tflow.tclient_conn()
    addon._lifecycle.refused = True
    await addon.client_connected(client)

    assert client.error == "Patchbay cannot start."


@in_loop
async def test_a_new_connection_is_held_back_until_mitmproxy_has_started_and_then_widened(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    async def hold_back(client: object) -> None:
        await asyncio.sleep(0)
        told.append(("held", client))

    monkeypatch.setattr(hooks.option_defaults, "hold_back", hold_back)
    monkeypatch.setattr(tls_passthrough, "widen", lambda client: told.append(("widened", client)))
    client = flow().client_conn
    await addon.client_connected(client)

    assert told == [("held", client), ("widened", client)]


@in_loop
async def test_a_new_connection_has_a_time_for_its_first_request(addon: Patchbay) -> None:
    asked = flow()
    await addon.client_connected(asked.client_conn)
    assert len(addon._pending) == 1
    await addon.requestheaders(asked)
    assert len(addon._pending) == 0

    await addon.client_connected(asked.client_conn)
    addon.http_connect(asked)
    assert len(addon._pending) == 0


def test_a_connection_that_a_stream_waits_for_is_told_to_be_closed(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(client_connections, "send", lambda handler, event: told.append(event.connection))
    waited, other = Server(address=("a", 1)), Server(address=("b", 2))
    monkeypatch.setattr(upstream_connections, "unended", {waited})
    for server in (waited, other):
        server.state = ConnectionState.OPEN
        addon.server_disconnected(SimpleNamespace(server=server, client=tflow.tclient_conn()))  # type: ignore[arg-type]

    assert told == [waited]
    assert waited.state is ConnectionState.CLOSED and other.state is ConnectionState.OPEN


@in_loop
async def test_a_tunnel_is_refused_where_nothing_else_may_pass(tmp_path: Path) -> None:
    with patchbay(tmp_path, "other_traffic: refuse" + ACCOUNTS) as addon:
        asked = flow(proxy_authorization="Basic c2VjcmV0LWtleS0wMTIzNDU2Nzg5")
        asked.request.method, asked.request.host = "CONNECT", "example.com"
        addon.http_connect(asked)

    assert error_of(asked)[0] == 403
    assert asked.request.headers["proxy-authorization"] == "patchbay"


@in_loop
async def test_a_tunnel_that_another_addon_answered_keeps_that_answer(addon: Patchbay) -> None:
    asked = flow()
    asked.request.method = "CONNECT"
    given = answer(asked, b"no", 407)
    addon.http_connect(asked)

    assert asked.response is given


@in_loop
async def test_whether_a_client_takes_its_answer_again_is_looked_at_twenty_times_a_second(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    rest = asyncio.sleep
    monkeypatch.setattr(client_connections, "stop_reading", lambda pause: lambda: None)
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: slept.append(seconds) or rest(0))
    looks = iter((False, False, True))
    await addon.patchbay_give_way(SimpleNamespace(flow=None, over=lambda: next(looks), seconds=9.0))  # type: ignore[arg-type]

    assert slept == [0.05, 0.05]


@in_loop
async def test_a_pause_ends_when_the_client_takes_its_answer_again(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []
    monkeypatch.setattr(client_connections, "stop_reading", lambda pause: lambda: resumed.append(True))
    monkeypatch.setattr(hooks, "_GLANCE", 0.0)
    looks = iter((False, False, True))
    await addon.patchbay_give_way(SimpleNamespace(flow=None, over=lambda: next(looks), seconds=9.0))  # type: ignore[arg-type]
    await addon.patchbay_give_way(SimpleNamespace(flow=None, over=None, seconds=0.0))  # type: ignore[arg-type]

    assert resumed == [True, True]
    assert next(looks, None) is None


def test_what_an_upstream_speaks_is_remembered(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    upstreams = SimpleNamespace(**{name: told.append for name in vars(type(addon._http1_upstreams)) if name[0] != "_"})
    monkeypatch.setattr(addon, "_http1_upstreams", upstreams)
    server, hello = tflow.tserver_conn(), SimpleNamespace(client_hello=None)
    addon.tls_clienthello(hello)  # type: ignore[arg-type]
    addon.tls_established_server(SimpleNamespace(conn=server))  # type: ignore[arg-type]
    addon.tls_established_server(SimpleNamespace(conn=tflow.tclient_conn()))  # type: ignore[arg-type]

    assert told == [hello, server]


def test_a_layer_that_is_no_http_is_closed_towards_a_provider(
    addon: Patchbay, caplog: pytest.LogCaptureFixture
) -> None:
    """The bytes may hold the client's own key."""
    caplog.set_level(logging.INFO)
    at = upstream_stream_context()
    at.client.proxy_mode = flow(mode="reverse:http://127.0.0.1:9").client_conn.proxy_mode
    at.server.address = ("127.0.0.1", 9)
    decided = SimpleNamespace(context=at, layer=TCPLayer(at), data_client=lambda: b"", data_server=lambda: b"")
    addon.next_layer(decided)  # type: ignore[arg-type]

    assert isinstance(decided.layer, upstream_layer.Closed)
    assert "is not read as HTTP" in caplog.text


# -- what a hook leaves alone -----------------------------------------------------------------------------------------


@in_loop
async def test_only_a_stream_to_an_upstream_is_probed(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[object] = []
    monkeypatch.setattr(hooks.keepalive, "enable", probed.append)
    stream = asyncio.StreamWriter.__new__(asyncio.StreamWriter)
    stream._transport = SimpleNamespace(get_extra_info=lambda name, default: name, is_closing=lambda: True)  # type: ignore[attr-defined]
    data = SimpleNamespace(client=SimpleNamespace(id="c"), server=tflow.tserver_conn())
    for found in (None, SimpleNamespace(writer=None), SimpleNamespace(writer=stream)):
        monkeypatch.setattr(client_connections, "transport_of", lambda *_, found=found: found)
        addon.server_connected(data)  # type: ignore[arg-type]

    assert probed == ["socket"]


@in_loop
async def test_a_flow_that_is_not_ours_is_taken_for_a_loaded_one(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[object] = []
    monkeypatch.setattr(service(addon).loaded, "take", taken.append)
    first, second = tflow.tflow(resp=True), tflow.tflow(err=True)
    addon.responseheaders(first)
    await addon.response(first)
    addon.error(second)

    assert taken == [first, second]
    assert second.response is None and not (hasattr(first, "patchbay") or hasattr(second, "patchbay"))


@in_loop
async def test_an_exchange_without_an_answer_stays_open(addon: Patchbay) -> None:
    asked = await ask(addon, flow())
    addon.responseheaders(asked)
    await addon.response(asked)

    assert not driver(asked).closed and not driver(asked).head_taken


@in_loop
async def test_a_wait_is_for_what_comes_from_now_on(addon: Patchbay) -> None:
    """A wake-up of before is none; a time that is over is waited for a moment, so that the loop goes on."""
    asked = await ask(addon, flow())
    driver(asked).recheck.set()
    waits = asyncio.create_task(hooks._wait(driver(asked), time.time() + 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waits.done()
    driver(asked).recheck.set()
    assert await waits is True

    waits = asyncio.create_task(hooks._wait(driver(asked), 0.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waits.done()
    driver(asked).client_left()
    assert await waits is False


@in_loop
async def test_a_key_that_cannot_be_had_is_told_to_the_router(addon: Patchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await ask(addon, flow())
    exchange, lease = driver(asked).exchange, driver(asked).lease
    assert exchange and lease
    told: list[object] = []
    monkeypatch.setattr(service(addon).router, "key_missing", lambda of, why, now: told.append((of, why)))

    async def fails(secret: object) -> None:
        raise KeyUnavailable("the vault is locked")

    assert await addon._has_keys(exchange, lease) and told == []
    monkeypatch.setattr(addon._keys, "ready", fails)
    assert not await addon._has_keys(exchange, lease)
    assert told == [(exchange, "the vault is locked")]
