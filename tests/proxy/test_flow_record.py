"""What a flow keeps of its exchange, and what a replay reads of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mitmproxy import io
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from patchbay.body import Body
from patchbay.proxy import flow_record, stored_flows
from patchbay.proxy.redacted_heads import RedactedHeads, placeholder
from patchbay.router import Router
from patchbay.values.decision import Decision
from patchbay.values.http import Client, Origin, PriorServing

from ..test_router import account, answer, good, opened, request, routed, router

KEY = bytes(32)  # that of `router`
SCOPE = b"s" * 16
SOMEBODY = Client(SCOPE)


def served(of: Router, flow: HTTPFlow, client: Client = SOMEBODY) -> Decision:
    """Let *of* serve what stands for *flow*, and note it there."""
    exchange = opened(of, replace(request(x_session_id="s"), client=client))
    routed(of, exchange)
    answer(of, exchange, *good())
    decision = of.close(exchange, "", 1.0, status=200)
    flow.metadata["patchbay.account"] = decision.account
    flow_record.write_served(flow, exchange, decision, KEY)
    return decision


@pytest.fixture
def flow() -> HTTPFlow:
    found = tflow.tflow(resp=True)
    for name in ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"):
        found.request.headers[name] = "Bearer sk-own" if name == "authorization" else "sk-own"
    found.request.path = "/v1/chat/completions?key=sk-own"
    placeholder(found.request)
    return found


def test_it_says_how_it_was_served_and_for_whom(flow: HTTPFlow) -> None:
    """T10: the client's scope stands there as a keyed digest, since its credential does not."""
    decision = served(router(), flow)
    found = stored_flows.served(flow, KEY, ours=True)

    assert (found.account, found.affinity) == (decision.account, decision.session)
    assert (found.session_id, found.tier, found.edited) == (decision.session_id, "generic_header", False)
    assert stored_flows.scope(flow) == SCOPE
    assert b"sk-own" not in repr(flow.get_state()).encode()


@pytest.mark.parametrize("word", ["", "one", "two"])
def test_another_placeholder_is_no_edit(flow: HTTPFlow, word: str) -> None:
    """T11: it names the account, and on a replay none at first."""
    served(router(), flow)
    if word:
        RedactedHeads(flow.request).assign(flow.request, word, Origin("https", "api.example.com", 443))
    flow.request.headers["host"], flow.request.headers["content-length"] = "elsewhere", "7"

    assert not stored_flows.served(flow, KEY, ours=True).edited


@pytest.mark.parametrize("change", [{"x-session-id": "another"}, {"x-new": "1"}, {"authorization": "Bearer sk-new"}])
def test_headers_that_a_user_edits_are_an_edit(flow: HTTPFlow, change: dict[str, str]) -> None:
    """T11: under this instance's own key; of others nothing can be said."""
    served(router(), flow)
    flow.request.headers.update(change)

    assert stored_flows.served(flow, KEY, ours=True).edited
    assert not stored_flows.served(flow, KEY, ours=False).edited


def test_a_replay_that_nobody_served_leaves_what_was_known(flow: HTTPFlow) -> None:
    """T11: it can be replayed once more when the account is there again."""
    of = router()
    before = served(of, flow).account
    flow.is_replay = "request"
    refused = opened(of, request())
    flow_record.write_served(flow, refused, of.close(refused, "no", 1.0), KEY)

    assert stored_flows.served(flow, KEY, ours=True).account == before


def test_a_flow_of_before_says_it_by_the_journals_line() -> None:
    """T11: dumps of earlier releases."""
    flow = tflow.tflow()
    line = {
        "account": "one",
        "session": "a" * 32,
        "thread": "t",
        "tier": "codex",
        "session_id": "i",
        "client": "laptop",
    }
    flow.metadata |= {f"patchbay.{name}": value for name, value in (line | {"client": "laptop"}).items()}
    flow.metadata["patchbay.sent"] = [{"digest": "x"}, {"digest": "d"}]

    assert stored_flows.served(flow, KEY, ours=True) == PriorServing("one", "a" * 32, "t", "codex", "i", digest="d")
    assert stored_flows.scope(flow) is None
    assert stored_flows.client(flow) == "laptop"
    assert stored_flows.served(tflow.tflow(), KEY, ours=True) == PriorServing()


@pytest.mark.parametrize("odd", ["slot 0 ab m", "x\r\ny: z", "\x1b[31m", "a" * 65, "", 7, None, ["a"]])
def test_what_we_would_not_write_is_no_session(flow: HTTPFlow, odd: object) -> None:
    """T11: a dump may come from anywhere, and the session of a replay goes upstream."""
    served(router(), flow)
    names = ("session", "thread", "session_id")
    flow.metadata["patchbay.served"] |= dict.fromkeys(names, odd)
    found = stored_flows.served(flow, KEY, ours=True)
    assert (found.affinity, found.thread, found.session_id) == ("", "", "")
    del flow.metadata["patchbay.served"]
    flow.metadata |= {f"patchbay.{name}": odd for name in names}
    assert stored_flows.served(flow, KEY, ours=True).affinity == ""


ODD: tuple[object, ...] = (None, True, -1, 1.5, "x", b"\xff", [], [1, None], {"a": 1}, [{"account": 3}])


@pytest.mark.parametrize("name", ["served", "sent", "exchanges", "on_socket", "candidates", "attempts", "forgotten"])
def test_metadata_of_any_type_is_read(flow: HTTPFlow, name: str) -> None:
    """T11: scripts and other tools may write what they like on a flow."""
    served(router(), flow)
    for odd in ODD:
        flow.metadata[f"patchbay.{name}"] = odd
        found = stored_flows.record_of(flow, KEY, ours=True)
        assert found is not None
        assert all(isinstance(each, dict) for each in (*found.messages, *found.line["attempts"]))
        assert isinstance(stored_flows.served(flow, KEY, ours=True), PriorServing)


def test_only_the_last_exchanges_of_a_socket_are_kept() -> None:
    flow = tflow.twebsocketflow()
    for number in range(flow_record.MAX_RECORDS + 2):
        flow_record.add_line(flow, {"request_id": number})
        flow_record.add_record(flow, {"sent": [{"request_id": number}]})

    lines, exchanges = flow.metadata["patchbay.exchanges"], flow.metadata["patchbay.on_socket"]
    assert (len(lines), len(exchanges)) == (flow_record.MAX_LINES, flow_record.MAX_RECORDS)
    assert lines[-1]["request_id"] == exchanges[-1]["sent"][0]["request_id"] == flow_record.MAX_RECORDS + 1


def test_the_documented_number_of_exchanges_of_a_socket_is_kept() -> None:
    assert (flow_record.MAX_LINES, flow_record.MAX_RECORDS) == (50, 200)


@pytest.mark.parametrize(
    ("own_answer", "kept_bytes", "stands"),
    [
        (False, None, {}),
        (True, None, {"patchbay.own_answer": True}),
        (False, 0, {"patchbay.kept_bytes": 0}),
        (True, 7, {"patchbay.own_answer": True, "patchbay.kept_bytes": 7}),
    ],
)
def test_what_another_verdict_takes_stands_alone(
    own_answer: bool, kept_bytes: int | None, stands: dict[str, object]
) -> None:
    """A replay leaves nothing of the exchange before it."""
    flow = tflow.tflow()
    flow_record.write_attempts(flow, [{"request_id": "before"}], own_answer=True, kept_bytes=3)
    flow_record.write_attempts(flow, ({"request_id": "now"},), own_answer=own_answer, kept_bytes=kept_bytes)

    assert flow.metadata == {"patchbay.sent": [{"request_id": "now"}], **stands}


@pytest.mark.parametrize(
    ("header", "differs"),
    [
        *[((name, b"x"), False) for name in (b"Host", b"content-length", b"connection", b"transfer-encoding")],
        ((b"x-a", b"x"), True),
        *[((b"x-a", value), False) for value in (b"patchbay", b"Bearer patchbay", b"patchbay:a", b"Bearer patchbay:a")],
        *[((b"x-a", value), True) for value in (b"my patchbay key", b"patchbay-x", b"xpatchbay")],
    ],
)  # fmt: skip
def test_the_digest_of_headers_is_of_what_only_a_user_changes(header: tuple[bytes, bytes], differs: bool) -> None:
    plain, other = tflow.tflow().request, tflow.tflow().request
    plain.headers.fields = ((b"X-B", b"1"),)
    other.headers.fields = ((b"x-b", b"1"), header)

    assert (flow_record.headers_digest(plain, KEY) != flow_record.headers_digest(other, KEY)) is differs
    assert flow_record.headers_digest(plain, KEY) != flow_record.headers_digest(plain, b"k" * 32)


def test_an_exchange_that_no_account_served_is_written_where_it_is_no_replay(flow: HTTPFlow) -> None:
    of = router()
    refused = opened(of, replace(request(), client=SOMEBODY))
    flow_record.write_served(flow, refused, of.close(refused, "no", 1.0), KEY)

    written = flow.metadata["patchbay.served"]
    assert (written["account"], written["slot"], written["scope"]) == ("", None, SCOPE.hex())


def test_the_slot_and_the_client_are_written(flow: HTTPFlow) -> None:
    of = router()
    exchange = opened(of, replace(request(), client=Client(SCOPE, name="ann")))
    lease = routed(of, exchange)
    exchange.attempts[-1].lease = replace(lease, slot=3)
    flow_record.write_served(flow, exchange, of.close(exchange, "", 1.0), KEY)

    written = flow.metadata["patchbay.served"]
    assert (written["slot"], written["client"]) == (3, "ann")


def test_a_replay_that_was_served_replaces_what_was_known(flow: HTTPFlow) -> None:
    of = router()
    served(of, flow)
    before = flow.metadata["patchbay.served"]["request_id"]
    flow.is_replay = "request"
    served(of, flow)

    assert flow.metadata["patchbay.served"]["request_id"] != before


def test_a_body_that_streamed_through_has_no_digest(flow: HTTPFlow) -> None:
    of = router()
    asked = replace(request(), body=Body(None))
    flow.request.path, flow.request.raw_content = asked.path, None
    flow.request.headers["content-encoding"] = "gzip"
    exchange = opened(of, asked)
    routed(of, exchange)
    flow_record.write_served(flow, exchange, of.close(exchange, "", 1.0), KEY)

    assert flow.metadata["patchbay.served"]["digest"] == ""


def test_what_a_socket_no_longer_keeps_is_counted() -> None:
    flow = tflow.twebsocketflow()
    flow_record.add_forgotten(flow, 2)
    flow_record.add_forgotten(flow, 3)

    assert flow.metadata["patchbay.forgotten"] == 5


def test_the_line_stands_on_the_flow_with_how_the_account_was_found(flow: HTTPFlow, tmp_path: Path) -> None:
    """Only plain types: with others mitmproxy saves no flow."""
    of = router(account("a"), account("b", enabled=False))
    exchange = opened(of, request(x_session_id="s"))
    routed(of, exchange)
    flow_record.write_decision(flow, exchange, of.close(exchange, "", 1.0).encoded())
    with (tmp_path / "dump").open("wb") as file:
        io.FlowWriter(file).add(flow)

    assert flow.metadata["patchbay.account"] == "a"
    assert flow.metadata["patchbay.candidates"] == {"a": "", "b": "disabled"}
    (used,) = [each for each in flow.metadata["patchbay.evidence"] if each["used"]]
    assert used["tier"] == "generic_header" and used["where"]
    assert flow.metadata["patchbay.evidence"] == [
        {"tier": each.tier, "where": each.where, "used": each.used, "why": each.why}
        for each in exchange.identity.evidence
    ]


@pytest.mark.parametrize(
    ("path", "body", "encoded", "kept"),
    [
        ("/v1/chat/completions?key=sk-other", None, False, True),
        ("/v1/other", None, False, False),
        ("/v1/chat/completions", b"edited", False, False),
        ("/v1/chat/completions", b"edited", True, True),  # its bytes are another encoding of what was read
    ],
)
def test_the_digest_is_kept_where_the_flow_ends_as_it_came(
    flow: HTTPFlow, path: str, body: bytes | None, encoded: bool, kept: bool
) -> None:
    of, asked = router(), request()
    flow.request.path, flow.request.raw_content = path, asked.body.raw if body is None else body
    if encoded:
        flow.request.headers["content-encoding"] = "gzip"
    exchange = opened(of, asked)
    routed(of, exchange)
    flow_record.write_served(flow, exchange, of.close(exchange, "", 1.0), KEY)

    assert flow.metadata["patchbay.served"]["request_id"] == exchange.attempts[-1].lease.request_id
    assert flow.metadata["patchbay.served"]["digest"] == (exchange.digest.hex() if kept else "")


CHANGE = {"exchange": "a", "verdict": "suspect", "victim": "b", "findings": [{"detector": "d"}], "by": "c", "time": 1.0}


@pytest.mark.parametrize(("exchange", "verdict"), [("a", "suspect"), ("other", "clean")])
def test_a_changed_verdict_takes_the_place_of_the_exchange_s_own(exchange: str, verdict: str) -> None:
    flow = tflow.twebsocketflow()
    flow.metadata |= {"patchbay.exchange": exchange, "patchbay.verdict": "clean"}
    flow_record.add_line(flow, {"exchange": exchange, "verdict": "clean"})
    flow_record.add_record(flow, {"sent": [{"exchange": "a"}, {"exchange": exchange}], "verdict": "clean"})
    flow_record.add_record(flow, {"sent": [], "verdict": "clean"})

    flow_record.amend(flow, CHANGE)

    told = flow.metadata
    assert (told["patchbay.verdict"], told["patchbay.amended"]) == (verdict, [CHANGE])
    assert [line["verdict"] for line in told["patchbay.exchanges"]] == [verdict]
    assert [each["verdict"] for each in told["patchbay.on_socket"]] == [verdict, "clean"]
    if verdict == "suspect":
        line, record = told["patchbay.exchanges"][0], told["patchbay.on_socket"][0]
        assert line["victim"] == record["victim"] == told["patchbay.victim"] == "b"
        assert line["findings"] == told["patchbay.findings"] == CHANGE["findings"]
        assert "findings" not in record


def test_only_the_last_changed_verdicts_are_kept() -> None:
    flow = tflow.tflow()
    for number in range(flow_record.MAX_RECORDS + 1):
        flow_record.add_amendment(flow, CHANGE | {"time": number})
        flow_record.amend(flow, CHANGE | {"time": number})

    for name in ("patchbay.amends", "patchbay.amended"):
        assert [each["time"] for each in flow.metadata[name]] == list(range(1, flow_record.MAX_RECORDS + 1))
