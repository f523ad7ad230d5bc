"""What a flow keeps of its exchange, and what a replay reads of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from patchbay import clients
from patchbay.proxy import flow_record, replay
from patchbay.proxy.redacted_heads import placeholder
from patchbay.router import Router
from patchbay.settings.settings import ClientKey
from patchbay.values.account import Secret
from patchbay.values.decision import Decision
from patchbay.values.http import Client, Served

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
    flow_record.note(flow, exchange, decision, KEY)
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
    found = flow_record.served(flow, KEY, ours=True)

    assert (found.account, found.affinity) == (decision.account, decision.identity.affinity)
    assert (found.session_id, found.tier, found.edited) == (decision.session_id, "generic_header", False)
    assert flow_record.scope(flow) == SCOPE
    assert b"sk-own" not in repr(flow.get_state()).encode()


@pytest.mark.parametrize("word", ["", "one", "two"])
def test_another_placeholder_is_no_edit(flow: HTTPFlow, word: str) -> None:
    """T11: it names the account, and on a replay none at first."""
    served(router(), flow)
    placeholder(flow.request, word)
    flow.request.headers["host"], flow.request.headers["content-length"] = "elsewhere", "7"

    assert not flow_record.served(flow, KEY, ours=True).edited


@pytest.mark.parametrize("change", [{"x-session-id": "another"}, {"x-new": "1"}, {"authorization": "Bearer sk-new"}])
def test_headers_that_a_user_edits_are_an_edit(flow: HTTPFlow, change: dict[str, str]) -> None:
    """T11: under this instance's own key; of others nothing can be said."""
    served(router(), flow)
    flow.request.headers.update(change)

    assert flow_record.served(flow, KEY, ours=True).edited
    assert not flow_record.served(flow, KEY, ours=False).edited


def test_a_replay_that_nobody_served_leaves_what_was_known(flow: HTTPFlow) -> None:
    """T11: it can be replayed once more when the account is there again."""
    of = router()
    before = served(of, flow).account
    flow.is_replay = "request"
    refused = opened(of, request())
    flow_record.note(flow, refused, of.close(refused, "no", 1.0), KEY)

    assert flow_record.served(flow, KEY, ours=True).account == before


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

    assert flow_record.served(flow, KEY, ours=True) == Served("one", "a" * 32, "t", "codex", "i", digest="d")
    assert flow_record.scope(flow) is None
    assert flow_record.client(flow) == "laptop"
    assert flow_record.served(tflow.tflow(), KEY, ours=True) == Served()


def test_the_client_of_a_replay_has_todays_rights_and_the_scope_of_then(flow: HTTPFlow) -> None:
    """T11: as `clients` name it, or without any."""
    served(router(), flow, Client(SCOPE, "laptop"))
    laptop = ClientKey("laptop", Secret("literal", "sk-laptop-1234567890"), models=("m*",))
    known = (clients.Known(laptop, b"sk-laptop-1234567890"),)

    found = replay.client(flow, known, KEY)
    assert isinstance(found, Client)
    assert replace(found, key=b"") == Client(SCOPE, "laptop", models=("m*",))
    assert replay.client(flow, (), KEY) == Client(SCOPE, may_pin=True)
    assert replay.client(tflow.tflow(), known, KEY) == Client(may_pin=True)


def test_nothing_is_said_to_be_replayed_that_is_not(flow: HTTPFlow) -> None:
    """T11: a request of a client is a new one."""
    served(router(), flow)
    assert replay.served(flow, router(), KEY) is None


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (Served("a"), ""),
        (Served("gone"), "gone served it before, and cannot now (gone)"),
        (Served("b"), "b served it before, and cannot now (disabled)"),
    ],
)
def test_what_is_otherwise_than_before_is_said(flow: HTTPFlow, before: Served, said: str) -> None:
    """T11: in the comment of the flow."""
    of = router(account("a"), account("b", enabled=False))
    exchange = opened(of, replace(request(x_patchbay_session_id="off"), replay=before))
    routed(of, exchange)
    flow.comment = ""
    replay.remark(flow, exchange, of.close(exchange, "", 1.0))

    assert flow.comment == (f" · replay: {said}" if said else "")


@pytest.mark.parametrize("odd", ["slot 0 ab m", "x\r\ny: z", "\x1b[31m", "a" * 65, "", 7, None, ["a"]])
def test_what_we_would_not_write_is_no_session(flow: HTTPFlow, odd: object) -> None:
    """T11: a dump may come from anywhere, and the session of a replay goes upstream."""
    served(router(), flow)
    names = ("session", "thread", "session_id")
    flow.metadata["patchbay.served"] |= dict.fromkeys(names, odd)
    found = flow_record.served(flow, KEY, ours=True)
    assert (found.affinity, found.thread, found.session_id) == ("", "", "")
    del flow.metadata["patchbay.served"]
    flow.metadata |= {f"patchbay.{name}": odd for name in names}
    assert flow_record.served(flow, KEY, ours=True).affinity == ""


ODD: tuple[object, ...] = (None, True, -1, 1.5, "x", b"\xff", [], [1, None], {"a": 1}, [{"account": 3}])


@pytest.mark.parametrize("name", ["served", "sent", "exchanges", "on_socket", "candidates", "attempts", "forgotten"])
def test_metadata_of_any_type_is_read(flow: HTTPFlow, name: str) -> None:
    """T11: scripts and other tools may write what they like on a flow."""
    served(router(), flow)
    for odd in ODD:
        flow.metadata[f"patchbay.{name}"] = odd
        found = flow_record.happened(flow, KEY, ours=True)
        assert found is not None
        assert all(isinstance(each, dict) for each in (*found.messages, *found.line["attempts"]))
        assert isinstance(flow_record.served(flow, KEY, ours=True), Served)
