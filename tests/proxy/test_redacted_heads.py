"""Heads in a flow: placeholders where credentials were, and the credentials again on the wire."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st
from mitmproxy.http import Headers, HTTPFlow, Request
from mitmproxy.test import tflow, tutils

from patchbay import secret_patterns
from patchbay.proxy.header_fields import HeaderFields, Raw
from patchbay.proxy.redacted_heads import RedactedHeads, aim, lacks_credentials, names_credential
from patchbay.proxy.redaction import Redactor, cover_of_length
from patchbay.values.http import Origin

ORIGIN = Origin("https", "api.example.com", 443)
KEY = "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"
CAME = (
    (b"Host", b"api.example.com"),
    (b"X-LITELLM-Api-Key", KEY.encode()),
    (b"x_api_key", b"short"),
    (b"Cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"X-Note", b"see " + KEY.encode()),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Protocol", b"realtime, base64url.bearer.authorization.k8s.io." + KEY[7:].encode()),
    (b"Idempotency-Key", b"0123"),
)
PATH = f"/v1/{KEY}/x?a=1&access_token=t&pageToken=p&b={KEY}"

# What tools send besides their credential: ids, versions, traces, metadata.
OF_TOOLS = """\
x-stainless-lang: js
x-stainless-package-version: 5.12.2
x-stainless-retry-count: 0
x-stainless-runtime-version: v22.14.0
x-stainless-helper-method: stream
x-stainless-timeout: 600
x-stainless-async: async:asyncio
x-stainless-raw-response: true
x-stainless-read-timeout: 600
anthropic-version: 2023-06-01
anthropic-dangerous-direct-browser-access: true
anthropic-client-sha: 1b3a5c
anthropic-client-version: 1.0.0
x-app: cli
user-agent: claude-cli/1.0.108 (external, cli)
user-agent: codex_cli_rs/0.63.0 (Mac OS 15.1.0; arm64) iTerm.app/3.6.5
user-agent: GeminiCLI/0.8.1/gemini-2.5-pro (linux; x64) google-api-nodejs-client/9.15.1
user-agent: ai-sdk/openai-compatible/1.0.18 ai-sdk/provider-utils/3.0.9 runtime/bun/1.2.21
x-codex-turn-state: gAAAAABo7zq3mNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi==
x-codex-turn-metadata: {"turn_id":"0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11"}
x-codex-beta-features: unified_exec,shell_snapshot
x-codex-window-id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11:3
x-codex-parent-thread-id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11
x-codex-installation-id: 0199f0a17c527d80a5fd2f2a5c8a1b11
x-codex-task-id: task_e_68f1a2b3c4d5e6f708192a3b4c5d6e7f
session_id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11
conversation_id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11
session-id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11
thread-id: 0199f0a1-7c52-7d80-a5fd-2f2a5c8a1b11
x-openai-subagent: review
originator: codex_cli_rs
version: 0.63.0
openai-beta: responses=experimental
openai-beta: assistants=v2
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7
tracestate: dd=s:2;o:rum;t.dm:-4;t.usr.id:baz64,es=s:1
sentry-trace: 771a43a4192642f0b136d5159a501700-9ce6a7a1f3a8b1c2-1
x-datadog-trace-id: 1234567890123456789
x-datadog-parent-id: 9876543210987654321
x-datadog-sampling-priority: 1
x-datadog-tags: _dd.p.tid=640cfd8d00000000,_dd.p.dm=-0
b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90
x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7
uber-trace-id: 80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:1
x-amzn-trace-id: Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1
x-cloud-trace-context: 105445aa7843bc8bf206b12000100000/1;o=1
newrelic: eyJ2IjpbMCwxXSwiZCI6eyJ0eSI6IkFwcCJ9fQ==
elastic-apm-traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
x-request-id: req_011CSHoEeqs5C35K2UUqR7Fy
x-request-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-client-request-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-correlation-id: 8b3a2b6e5a3e4f3c9d2b7c1d2e3f4a5b
idempotency-key: stainless-node-retry-8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-idempotency-key: 01HZX3QK7J8M9N0P1Q2R3S4T5V
x-goog-api-client: gl-node/22.14.0 gccl/0.8 genai-js/1.20.0
x-goog-request-params: model=models%2Fgemini-2.5-pro
x-goog-fieldmask: candidates.content.parts.text
x-goog-upload-protocol: resumable
x-goog-upload-command: start
x-goog-upload-header-content-length: 10485760
x-gemini-api-privileged-user-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-server-timeout: 600
x-ms-client-request-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-ms-useragent: AzureOpenAI.Studio/1.0
ms-azureml-model-session: d22-20250101
x-ms-oai-assistants-testing: 1
x-ms-region: eastus2
apim-request-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
cf-ray: 8f1b2c3d4e5f6a7b-FRA
cf-connecting-ip: 203.0.113.9
cf-ipcountry: DE
cf-visitor: {"scheme":"https"}
cf-worker: example.workers.dev
cf-aig-metadata: {"team":"AI","user":12345}
cf-aig-cache-ttl: 3600
cf-aig-skip-cache: true
cf-aig-cache-key: prompt-42
cf-aig-event-id: 01HZX3QK7J8M9N0P1Q2R3S4T5V
helicone-session-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
helicone-session-path: /abstract/outline
helicone-user-id: ann@example.com
helicone-property-session: 24
helicone-cache-enabled: true
x-portkey-trace-id: 8b3a2b6e
x-portkey-metadata: {"_user":"ann"}
x-portkey-provider: openai
x-litellm-tags: a,b
x-litellm-timeout: 60
x-litellm-session-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-litellm-trace-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-litellm-num-retries: 3
x-litellm-spend-logs-metadata: {"a":"b"}
http-referer: https://cline.bot
x-title: Cline
x-task-id: 1731234567890
x-session-affinity: ses_5f2a1b3c4d5e6f708192
x-opencode-session: ses_5f2a1b3c4d5e6f708192a3b4c5
x-opencode-project: 9a3f0c1b2d4e5f60718293a4b5c6d7e8f9a0b1c2
x-opencode-client: cli
x-opencode-request: msg_8f2a1b3c4d5e6f708192
x-initiator: agent
editor-version: vscode/1.105.0
editor-plugin-version: copilot-chat/0.32.0
copilot-integration-id: vscode-chat
copilot-vision-request: true
vscode-machineid: 9a3f0c1b2d4e5f60718293a4b5c6d7e8f9a0b1c29a3f0c1b2d4e5f60718293a4
vscode-sessionid: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b1731234567890
x-interaction-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-github-api-version: 2025-05-01
openai-intent: conversation-panel
x-vscode-user-agent-library-version: electron-fetch
x-kilocode-version: 4.100.0
x-roo-task-id: 8b3a2b6e
x-grok-conv-id: 8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-dashscope-sse: enable
x-dashscope-session: abc
x-amz-date: 20251101T120000Z
x-amzn-bedrock-guardrailidentifier: abc123
x-amzn-bedrock-trace: ENABLED
langsmith-trace: 20251101T120000000000Z8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b
x-langfuse-trace-name: x
x-braintrust-parent: project_id:8b3a2b6e
mcp-session-id: 8b3a2b6e5a3e4f3c9d2b7c1d2e3f4a5b
mcp-protocol-version: 2025-06-18
x-vercel-id: fra1::iad1::abcde-1731234567890-0123456789ab
x-vercel-ai-data-stream: v1
x-railway-request-id: abc
fly-request-id: 01HZX3QK7J8M9N0P1Q2R3S4T5V-fra
x-forwarded-for: 10.0.0.1
x-envoy-attempt-count: 1
priority: u=1, i
sec-ch-ua: "Chromium";v="128"
sec-fetch-mode: cors
origin: vscode-file://vscode-app
referer: https://example.com/a?x=1
accept: text/event-stream
accept-language: de-DE,de;q=0.9
if-none-match: W/"33a64df551425fcc55e4d42a148795d9f25f89d4"
content-md5: Q2hlY2sgSW50ZWdyaXR5IQ==
digest: sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=
prefer: respond-async
x-requested-with: XMLHttpRequest
anthropic-workspace-id: wrkspc_01ABC
x-model-provider-id: p
"""


def flow_of(path: str = PATH, fields: Raw = CAME) -> HTTPFlow:
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(fields), path
    return flow


def test_the_flow_shows_none_and_the_wire_gets_every_byte() -> None:
    """T7, T8: fields of any name, parameters, a piece of the path, a protocol of a WebSocket."""
    flow = flow_of()
    covered = RedactedHeads(flow.request)

    assert KEY[7:] not in repr(flow.get_state())
    assert flow.request.path == "/v1/patchbay/x?a=1&access_token=patchbay&pageToken=p&b=patchbay"
    assert flow.request.headers["sec-websocket-protocol"] == "realtime"
    assert flow.request.headers["sec-websocket-key"] == "dGhlIHNhbXBsZSBub25jZQ=="
    assert flow.request.headers["idempotency-key"] == "0123"
    sent = covered.with_credentials(flow.request)
    assert (sent.headers.fields, sent.path) == (CAME, PATH)
    assert lacks_credentials(flow.request)
    assert KEY not in repr(covered)


@pytest.mark.parametrize(
    "key", ["0f3a9c7be1d24f68a5b7c9d1e3f50718", "correct-horse-battery-staple", "c2VjcmV0IHNlY3JldA=="]
)
@pytest.mark.parametrize("field", ["Authorization: Bearer ", "X-API-Key: ", "api-key: ", "authorization: "])
def test_a_credential_of_no_shape_is_covered_wherever_the_head_repeats_it(field: str, key: str) -> None:
    """T7: in a value, a piece of the path, a parameter; and it goes up under none of these names."""
    name, _, before = field.partition(": ")
    came = (
        (b"host", b"api.example.com"), (b"x-foo", key.encode()), (name.encode(), (before + key).encode()),
        (b"user-agent", f"cli/{key} x".encode()), (b"x-note", b"one"),
    )  # fmt: skip
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(came), f"/v1/{key}/x?{key}&a={key}&b=1"
    covered = RedactedHeads(flow.request)

    assert key not in repr(flow.get_state())
    assert flow.request.headers["x-note"] == "one"
    assert flow.request.path.endswith("&b=1")
    assert covered.by_value == {b"x-foo", b"user-agent"}
    assert covered.with_credentials(flow.request).headers.fields == came
    assert covered.with_credentials(flow.request).path == f"/v1/{key}/x?{key}&a={key}&b=1"


LIKE_A_KEY = "AKIAIOSFODNN7EXAMPLEAA"  # as three of a million random values begin


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sec-WebSocket-Key", f"{LIKE_A_KEY}=="),
        ("Sec-WebSocket-Accept", f"{LIKE_A_KEY}abcde="),
        ("Content-Type", f"multipart/form-data; boundary=------------------------{LIKE_A_KEY}"),
        ("content-type", f'multipart/related;boundary="{LIKE_A_KEY}"'),
    ],
)
def test_what_http_draws_at_random_is_no_key_whatever_it_looks_like(name: str, value: str) -> None:
    """Without it, no WebSocket is opened and no body is read."""
    assert secret_patterns.holds_key(value)
    flow, response = flow_of(), tutils.tresp(headers=Headers([(name.encode(), value.encode())]))
    flow.request.headers = Headers([(name.encode(), value.encode()), (b"x-note", f"see {LIKE_A_KEY}".encode())])
    covered = RedactedHeads(flow.request)
    covered.redact_answer(response)

    assert flow.request.headers[name] == response.headers[name] == value
    assert covered.by_value == {b"x-note"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-websocket-key", KEY),
        ("sec-websocket-key", f"{LIKE_A_KEY}AA=="),
        ("sec-websocket-accept", KEY),
        ("content-type", KEY),
        ("content-type", f"text/plain; charset={KEY}"),
        ("content-type", f"multipart/form-data; boundary=x; key={KEY}"),
        ("x-sec-websocket-key", f"{LIKE_A_KEY}=="),
    ],
)
def test_a_key_in_the_place_of_what_is_drawn_at_random_is_covered(name: str, value: str) -> None:
    flow = flow_of()
    flow.request.headers = Headers([(name.encode(), value.encode())])
    RedactedHeads(flow.request)

    assert flow.request.headers[name] == "patchbay"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=20, max_size=20))
def test_every_nonce_of_a_websocket_stays(key: bytes, accept: bytes) -> None:
    flow = flow_of()
    came = ((b"Sec-WebSocket-Key", base64.b64encode(key)), (b"Sec-WebSocket-Accept", base64.b64encode(accept)))
    flow.request.headers = Headers((*came, (b"x-note", KEY.encode())))
    RedactedHeads(flow.request)

    assert flow.request.headers.fields[:2] == came


def test_a_name_and_a_password_before_a_host_are_not_shown() -> None:
    """T7: in the header, and in what HTTP/2 calls the authority."""
    flow = tflow.tflow()
    flow.request.headers = Headers(((b"Host", b"me:hunter2@api.example.com"),))
    flow.request.data.authority = b"me:hunter2@api.example.com"
    covered = RedactedHeads(flow.request)

    assert "hunter2" not in repr(flow.get_state())
    assert flow.request.headers["host"] == flow.request.authority == "api.example.com"
    assert covered.with_credentials(flow.request).headers["host"] == "me:hunter2@api.example.com"


def test_a_field_called_like_a_key_is_a_credential() -> None:
    """T7: a line that somebody wrote the wrong way round; it goes to no provider."""
    flow = tflow.tflow()
    flow.request.headers = Headers(((f"X-{KEY}".encode(), b"1"), (b"x-note", b"1")))
    RedactedHeads(flow.request)

    assert names_credential(f"x-{KEY}".lower().encode())
    assert not names_credential(b"x-stainless-helper-method-of-the-client")
    assert flow.request.headers["x-note"] == "1"


@pytest.mark.parametrize(
    "path",
    [f"/v1/x?{KEY}", f"/v1/x?{KEY}=1&b=1", f"/v1/x?a=b;c={KEY}", "/v1/x?a=b;key=hunter2secret", f"/v1/x;key={KEY}",
     "/v1/x;token=hunter2secret?b=1", f"/v1/{KEY}?b", f"/{KEY}", f"/v1/x#{KEY}"],
)  # fmt: skip
def test_a_path_shows_no_key_with_or_without_a_name(path: str) -> None:
    """T7: a parameter without a name, or whose name is the key; parameters behind a semicolon."""
    flow = flow_of(path)
    covered = RedactedHeads(flow.request)

    assert KEY[7:] not in flow.request.path
    assert "hunter2" not in flow.request.path
    assert covered.with_credentials(flow.request).path == path


def test_what_tools_send_besides_is_covered_nowhere() -> None:
    """T7: every byte of it goes up, and the flow shows it."""
    fields = tuple((n.encode(), v.encode()) for n, _, v in (line.partition(": ") for line in OF_TOOLS.splitlines()))
    path = "/v1/projects/8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b/messages?beta=true&api-version=2025-04-01-preview&after=x"
    assert len(fields) > 100
    for key in (b"Bearer " + KEY.encode(), b"Bearer 0f3a9c7be1d24f68a5b7c9d1e3f50718"):
        flow = tflow.tflow()
        flow.request.headers, flow.request.path = Headers((*fields, (b"authorization", key))), path
        covered = RedactedHeads(flow.request)

        assert flow.request.headers.fields == (*fields, (b"authorization", b"Bearer patchbay"))
        assert flow.request.path == path
        assert covered.by_value == frozenset()


def test_to_another_place_they_do_not_go() -> None:
    """T8: the flow was edited, or sent elsewhere by another addon."""
    flow = flow_of()
    covered = RedactedHeads(flow.request)
    flow.request.host = "evil.example"

    assert KEY[7:] not in repr(covered.with_credentials(flow.request).get_state())


def test_nothing_to_cover_is_nothing_to_copy() -> None:
    flow = tflow.tflow()
    covered = RedactedHeads(flow.request)

    assert covered.with_credentials(flow.request) is flow.request
    assert not lacks_credentials(flow.request)


def test_cookies_of_an_answer_are_the_clients_alone() -> None:
    """T8: the flow shows them covered."""
    told = (
        (b"Set-Cookie", b"a=secret"),
        (b"set-cookie", b"b=secret"),
        (b"X-Plain", b"1"),
        (b"x-auth-token", b"secret"),
    )
    response = tutils.tresp(headers=Headers(told))
    covered = RedactedHeads(tflow.tflow().request)
    covered.redact_answer(response)

    assert b"secret" not in repr(response.headers.fields).encode()
    assert covered.for_client(response).headers.fields == told
    response.headers["x-plain"] = "2"
    assert covered.for_client(response).headers.get_all("set-cookie") == ["a=secret", "b=secret"]
    assert covered.for_client(response).headers["x-plain"] == "2"


def test_an_account_is_named_where_a_credential_was() -> None:
    flow = flow_of("/x?key=k")
    RedactedHeads(flow.request).assign(flow.request, "one", ORIGIN)

    assert flow.request.headers["x-litellm-api-key"] == "patchbay:one"
    assert flow.request.path == "/x?key=patchbay:one"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"close", {b"host", b"authorization", b"x-a", b"x-b"}),
        (b"X-A , x-b,", {b"host", b"authorization"}),
        (b"authorization, host, Content-Length, x-a", {b"host", b"authorization", b"x-b"}),
    ],
)
def test_what_connection_lists_is_taken_off_but_never_what_is_needed(value: bytes, expected: set[bytes]) -> None:
    """R6"""
    names = (b"Host", b"Authorization", b"X-A", b"x-B", b"TE", b"Keep-Alive", b"HTTP2-Settings", b"Upgrade", b"Trailer")
    fields = HeaderFields(((b"Connection", value), *((name, b"1") for name in names)))
    fields.drop_hops()

    assert set(fields.names()) == expected


@pytest.mark.parametrize("value", [b"Upgrade", b"keep-alive, Upgrade", b"upgrade"])
def test_an_upgrade_to_a_websocket_keeps_what_says_so(value: bytes) -> None:
    """R6"""
    fields = HeaderFields(((b"Connection", value), (b"Upgrade", b"websocket"), (b"Keep-Alive", b"1")))
    fields.drop_hops(b"Upgrade")

    assert fields.names() == [b"connection", b"upgrade"]
    assert fields.first(b"connection").lower() == b"upgrade"


def test_trailers_carry_no_credential() -> None:
    """T7: they come when the head has left, and the flow keeps them."""
    ours, own = "the.first.of.our.keys", "my-companys-own-0123456789"
    trailers = Headers(((b"X-Auth-Token", b"secret"), (b"x-note", KEY.encode()), (b"X-Checksum", b"1")))
    for value in (f"see {ours}", quote(base64.b64encode(b"me:" + ours.encode())), own):
        trailers.add("x-sum", value)
    trailers.add(ours, "1")
    request = Request.make("POST", "http://x/", headers={"authorization": f"Bearer {own}"})

    assert RedactedHeads(request, known=Redactor((ours,))).bare(trailers).fields == ((b"X-Checksum", b"1"),)


def test_a_key_that_becomes_known_after_the_trailers_came_leaves_them() -> None:
    request = Request.make("POST", "http://x/")
    heads = RedactedHeads(request)
    request.trailers = heads.bare(Headers(((b"x-note", b"the.first.of.our.keys"), (b"x-sum", b"1"))))
    heads.cover_known(request, Redactor(("the.first.of.our.keys",)))

    assert request.trailers and request.trailers.fields == ((b"x-sum", b"1"),)


@pytest.mark.parametrize("value", [b"close", b"keep-alive, X-A", b"Keep-Alive"])
def test_the_next_connection_is_kept_whatever_the_client_says_of_its_own(value: bytes) -> None:
    """R6"""
    fields = HeaderFields(((b"Connection", value), (b"X-A", b"1"), (b"Keep-Alive", b"timeout=5"), (b"X-B", b"1")))
    fields.drop_hops(b"keep-alive")

    assert fields.first(b"connection").lower() == b"keep-alive"
    assert set(fields.names()) - {b"x-a"} == {b"connection", b"x-b"}


@pytest.mark.parametrize(
    ("origin", "called"),
    [
        (Origin("http", "::1", 8000), "[::1]:8000"),
        (Origin("https", "2001:db8::1", 443), "[2001:db8::1]"),
        (Origin("http", "127.0.0.1", 8000), "127.0.0.1:8000"),
    ],
)
def test_an_address_is_written_as_in_a_url(origin: Origin, called: str) -> None:
    """P7: an IPv6 address has brackets around it, in Host and in :authority."""
    for authority in (b"", b"patchbay.invalid"):
        request = tutils.treq(authority=authority, headers=Headers([(b"Host", b"patchbay.invalid")]))
        fields = HeaderFields(request.headers.fields)
        aim(request, fields, origin)

        assert fields.first(b"host").decode() == called
        assert request.authority == (called if authority else "")


@pytest.mark.parametrize(("length", "covered"), [(15, False), (16, True), (17, True)])
def test_a_credential_of_sixteen_bytes_is_searched_for_in_the_rest_of_the_head(length: int, covered: bool) -> None:
    """A shorter one may be an ordinary word."""
    key = "correct-horse-ba-x"[:length]
    flow = tflow.tflow()
    flow.request.headers = Headers(((b"x-api-key", key.encode()), (b"x-note", f"see {key}".encode())))
    RedactedHeads(flow.request)

    assert flow.request.headers["x-note"] == ("patchbay" if covered else f"see {key}")


def test_the_protocols_and_the_host_are_not_covered_as_a_whole() -> None:
    """Without them no request arrives, and no WebSocket is opened: the key alone is taken out of the protocols."""
    key = "correct-horse-battery"
    flow = tflow.tflow()
    flow.request.headers = Headers(
        (
            (b"Host", f"{key}.example".encode()),
            (b"api-key", key.encode()),
            (b"Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{key}, {key}".encode()),
        )
    )
    RedactedHeads(flow.request)

    assert flow.request.headers["host"] == f"{key}.example"
    assert flow.request.headers["sec-websocket-protocol"] == f"realtime, {key}"


def test_a_request_without_protocols_gets_none() -> None:
    request = tutils.treq(headers=Headers([(b"authorization", b"Bearer x")]))
    RedactedHeads(request).assign(request, "main", ORIGIN)

    assert request.headers.fields == ((b"authorization", b"Bearer patchbay:main"),), "nor a Host"
    assert (request.scheme, request.host, request.port) == ("https", "api.example.com", 443)


def test_a_request_is_directed_to_the_origin_of_its_account() -> None:
    request = tutils.treq(headers=Headers([(b"Host", b"patchbay.invalid")]), authority=b"patchbay.invalid")
    RedactedHeads(request).assign(request, "main", Origin("https", "api.example.com", 8443))

    assert (request.scheme, request.host, request.port) == ("https", "api.example.com", 8443)
    assert request.headers["host"] == request.authority == "api.example.com:8443"


def test_fields_that_were_covered_are_given_as_they_came() -> None:
    flow = tflow.tflow()
    came = (
        (b"X-Api-Key", KEY.encode()),
        (b"Cookie", b"a=1"),
        (b"X-Note", b"1"),
        (b"authorization", b"Bearer patchbay"),
    )
    flow.request.headers = Headers(came)
    covered = RedactedHeads(flow.request)

    assert list(covered.given({"x-api-key", "x-note", "authorization"})) == [came[0]], "one that stands was not covered"
    assert list(covered.given({"cookie", "x-api-key"})) == [came[0], came[1]]
    assert list(covered.given(())) == []


def test_parameters_are_read_as_they_came() -> None:
    covered = RedactedHeads(flow_of("/x?key=secret&a=1").request)

    assert covered.parameters(("key", "a", "b")) == {"key": "secret", "a": "1"}


def test_an_answer_without_credentials_is_the_flow_s_own() -> None:
    response = tutils.tresp(headers=Headers([(b"content-type", b"text/plain")]))
    covered = RedactedHeads(tflow.tflow().request)
    assert covered.for_client(response) is response
    covered.redact_answer(response)

    assert covered.for_client(response) is response


def test_edits_of_a_covered_field_stay_and_the_others_come_back() -> None:
    flow = flow_of("/x?key=secret&a=1")
    covered = RedactedHeads(flow.request)
    flow.request.headers["cookie"] = "edited"
    flow.request.headers["x-new"] = "1"
    flow.request.path = "/y?key=patchbay&a=2"
    sent = covered.with_credentials(flow.request)

    assert sent.headers.get_all("cookie") == ["edited"]
    assert (sent.headers["x-litellm-api-key"], sent.headers["x_api_key"], sent.headers["x-new"]) == (KEY, "short", "1")
    assert sent.path == "/y?a=2&key=secret"
    assert flow.request.headers["x-litellm-api-key"] == "patchbay"


@pytest.mark.parametrize(
    ("value", "path", "lacks"),
    [
        ("patchbay", "/", True),
        ("Bearer patchbay:main", "/", True),
        ("x", "/v1/patchbay/x", True),
        ("x", "/x?key=patchbay:main&b=1", True),
        ("x", "/patchbays", False),
        ("see patchbay", "/x?patchbay=1", False),
        (f"patchbay:{'a' * 65}", "/", False),
    ],
)
def test_a_stored_request_lacks_credentials_where_a_placeholder_stands(value: str, path: str, lacks: bool) -> None:
    request = tutils.treq(headers=Headers([(b"x-any", value.encode())]), path=path.encode())

    assert lacks_credentials(request) is lacks


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"x-api-key", True), (b"x-auth-token", True), (b"idempotency-key", False), (b"x-note", False)],
)
def test_names_of_credentials(name: bytes, expected: bool) -> None:
    assert names_credential(name) is expected


# They have no form of a key: they are some because an account has them.
KNOWN, KEPT = "gateway-of+/the-team?", "gateway.of.the.team"


@pytest.mark.parametrize(
    "written",
    [
        KNOWN, f"see {KNOWN}!", quote(KNOWN, safe=""), json.dumps({"k": KNOWN}), KNOWN.encode().hex(),
        "Basic " + base64.b64encode(f"me:{KNOWN}".encode()).decode(), KNOWN.upper(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x-custom", "user-agent", "referer", "content-type", "traceparent"])
def test_an_account_key_is_covered_in_every_header_and_goes_to_no_other_upstream(name: str, written: str) -> None:
    flow = flow_of("/x", ((name.encode(), written.encode()), (b"x-note", b"kept")))
    covered = RedactedHeads(flow.request, known=Redactor([KNOWN]))

    assert flow.request.headers[name] == "patchbay" and flow.request.headers["x-note"] == "kept"
    assert covered.by_value == {name.encode()}
    assert covered.with_credentials(flow.request).headers[name] == written  # the client's own destination


def test_an_account_key_is_covered_in_the_path_the_protocols_and_the_name_of_a_field() -> None:
    flow = flow_of(f"/v1/{KEPT}/x?note=a{KEPT}b")
    flow.request.headers = Headers(
        [(b"sec-websocket-protocol", f"realtime, {KEPT}".encode()), (f"X-{KEPT}".encode(), b"1")]
    )
    RedactedHeads(flow.request, known=Redactor([KEPT]))
    cover = cover_of_length(len(KEPT)).decode()

    assert flow.request.path == f"/v1/{cover}/x?note=a{cover}b"
    assert flow.request.headers.fields == ((b"sec-websocket-protocol", f"realtime, {cover}".encode()),)


def test_what_becomes_known_later_is_covered_before_it_goes_up() -> None:
    flow = flow_of(f"/v1/x?note={KEPT}", ((b"x-custom", KEPT.encode()), (b"x-note", b"kept")))
    covered = RedactedHeads(flow.request)
    assert flow.request.headers["x-custom"] == KEPT

    covered.cover_known(flow.request, Redactor([KEPT]))

    assert flow.request.headers["x-custom"] == "patchbay" and KEPT not in flow.request.path
    assert flow.request.headers["x-note"] == "kept" and covered.by_value == {b"x-custom"}


def test_an_account_key_in_an_answer_that_passes_is_covered_in_the_flow_alone() -> None:
    flow = flow_of()
    covered = RedactedHeads(flow.request, known=Redactor([KEPT]))
    response = tutils.tresp(headers=Headers([(b"x-said", KEPT.encode())]))
    covered.redact_answer(response)

    assert response.headers["x-said"] == "patchbay"
    assert covered.for_client(response).headers["x-said"] == KEPT
