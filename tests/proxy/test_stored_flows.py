"""What a dump says about its exchanges comes from the flows' metadata, and dumps of earlier releases are still read."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow, io
from mitmproxy.http import Headers as FlowHeaders, HTTPFlow
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay.correlation import Mint
from patchbay.crosstalk.attempt_record import VERSION
from patchbay.crosstalk.reverify import Judged, StoredExchange, judge
from patchbay.proxy import flow_record, stored_flows
from patchbay.replacement import CROSSTALK
from patchbay.router import mint_of
from patchbay.values.answer import Head
from patchbay.values.http import Headers, Origin, PriorServing

# A dump of 2026-11, before records had a version, and the key under which it was written. All dialects, streamed and
# not, answers that were swapped, spliced and repeated, some that were not kept whole, two WebSockets.
BEFORE = Path(__file__).parent.parent / "data" / "day-2026-11.mitm.gz"
KEY = bytes.fromhex("6961e8f5fc64811896be5fb92588f49f06487e74b78c5bb3d7f351ce58172541")
RECORD = {"request_id": "pb1-x", "version": 1}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> list[Judged]:
    path = tmp_path_factory.mktemp("before") / "day.mitm"
    path.write_bytes(gzip.decompress(BEFORE.read_bytes()))
    return judge(stored_flows.exchanges(path, mint_of(KEY)), mint_of(KEY))


def test_a_dump_from_before_records_had_a_version_is_judged_as_it_was(before: list[Judged]) -> None:
    """T12: the same verdict and the same victim for each of its exchanges."""
    assert all(each.agrees for each in before)
    assert Counter(each.verdict.kind for each in before) == {"clean": 25, "crosstalk": 13, "unverifiable": 2}
    assert all("version" not in record for each in before for record in each.stored.attempts)


def test_it_is_really_judged(before: list[Judged]) -> None:
    """T12: what was said stands only where the answer was not kept whole."""
    then = [each for each in before if each.verdict.note == "the recorded verdict"]

    assert 0 < len(then) < len(before) / 2
    assert all(each.stored.cut for each in then)


def _flow(**metadata: object) -> HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.metadata |= {f"patchbay.{name}": value for name, value in metadata.items()}
    return flow


def _stored(flow: HTTPFlow) -> tuple[bool, bool]:
    (found,) = stored_flows.exchanges_of(flow, mint_of(KEY))
    return found.cut, found.ours


@pytest.mark.parametrize("comment", ["", "only the first 10 bytes of the answer are kept", "mine"])
@pytest.mark.parametrize("kept", [None, 0, 10])
def test_whether_an_answer_was_kept_whole_is_not_read_from_the_comment(comment: str, kept: int | None) -> None:
    """T13: the comment is the user's to edit."""
    flow = _flow()
    flow_record.write_attempts(flow, [RECORD], kept_bytes=kept)
    flow.comment = comment

    assert _stored(flow) == (kept is not None, False)


def test_before_there_was_a_version_only_the_comment_said_so() -> None:
    """T13: flows of earlier releases are read as they were."""
    flow = _flow(sent=[{"request_id": "pb1-x"}])
    flow.comment = "clean · only the first 10 bytes of the answer are kept"

    assert _stored(flow) == (True, False)


def test_whether_an_answer_is_ours_is_not_read_from_the_error() -> None:
    """T13: the text of an error is for people."""
    flow = _flow(sent=[RECORD], error="")
    flow.error = mitmproxy_flow.Error(CROSSTALK.code)
    assert _stored(flow) == (False, False)

    flow = _flow(sent=[RECORD], error=CROSSTALK.code)
    flow.error = mitmproxy_flow.Error("edited")
    assert _stored(flow) == (False, True)


def test_a_replay_leaves_nothing_of_the_exchange_before_it() -> None:
    """T13: what is said of one exchange does not stand beside the next one of the same flow."""
    flow = _flow()
    flow_record.write_attempts(flow, [RECORD], own_answer=True, kept_bytes=5)
    flow_record.write_attempts(flow, [RECORD])

    assert _stored(flow) == (False, False)


def test_a_flow_is_still_saved(tmp_path: Path) -> None:
    flow = _flow()
    flow_record.write_attempts(flow, [RECORD], own_answer=True, kept_bytes=5)
    with (tmp_path / "x").open("wb") as file:
        io.FlowWriter(file).add(flow)

    assert len(list(stored_flows.exchanges(tmp_path / "x", mint_of(KEY)))) == 1


@pytest.mark.parametrize(
    "odd", [None, True, -1, 1.5, "x", b"\xff", [], [1, None], {"a": 1}, [{"sent": 1, "first": "x"}]]
)
def test_what_we_would_not_write_is_no_exchange(odd: object) -> None:
    """T12: a dump may come from anywhere."""
    for name in ("sent", "on_socket", "forgotten"):
        for flow in (tflow.tflow(resp=True), tflow.twebsocketflow()):
            flow.metadata |= {f"patchbay.{name}": odd, "patchbay.verdict": odd, "patchbay.error": odd}
            judged = judge(stored_flows.exchanges_of(flow, mint_of(KEY)), mint_of(KEY))
            assert all(each.verdict.kind == "unverifiable" for each in judged)


@pytest.mark.parametrize("raw", [b"nonsense", b"99999999999:x,", b"-5:x,", b"9:" * 5000, b"\0", b'{"log": {}}'])
def test_what_is_no_dump_is_said_to_be_none(tmp_path: Path, raw: bytes) -> None:
    """T12: whatever its lengths claim."""
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(stored_flows.BrokenDump):
        list(stored_flows.exchanges(tmp_path / "x", mint_of(KEY)))


def test_a_flow_without_an_id_of_ours_holds_no_exchange() -> None:
    assert list(stored_flows.exchanges_of(tflow.tflow(resp=True), mint_of(KEY))) == []


@pytest.mark.parametrize(
    ("method", "path", "verdict"),
    [("POST", "/v1/responses", "crosstalk"), ("GET", "/v1/responses/resp_x", "unverifiable"),
     ("GET", "/v1/responses", "unverifiable"), ("POST", "/v1/responses/resp_x/cancel", "unverifiable")],
)  # fmt: skip
def test_what_was_fetched_between_patchbay_and_a_provider_may_hold_its_maker_s_id(
    method: str, path: str, verdict: str
) -> None:
    mint = mint_of(KEY)
    maker, mine = (mint.new(at, lambda size: b"x" * size) for at in (1.0, 2.0))
    found: list[StoredExchange] = []
    for request_id, how, where in ((maker, "POST", "/v1/responses"), (mine, method, path)):
        flow = tflow.tflow(resp=True)
        flow.request.method, flow.request.path = how, where
        flow.request.headers["x-request-id"] = request_id
        assert flow.response is not None
        flow.response.headers["content-type"] = "application/json"
        flow.response.text = f'{{"object": "response", "request_id": "{maker}", "id": "resp_{maker}"}}'
        found += stored_flows.exchanges_of(flow, mint)

    assert [each.verdict.kind for each in judge(found, mint)] == ["clean", verdict]


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"request_id": "pb1-line"}, "pb1-line"),
        ({"request_id": "x", "served": {"request_id": "pb1-s"}}, "pb1-s"),
        ({}, ""),
    ],
)
def test_the_id_of_a_flow_is_that_of_the_attempt_that_served_it(metadata: dict[str, object], found: str) -> None:
    assert stored_flows.request_id(_flow(**metadata)) == found


# -- how a flow was served ---------------------------------------------------------------------------------------------

SEED, OTHER, THIRD = "a" * 32, "b" * 32, "pb.x:y_z-1"
SERVED: dict[str, object] = {
    "account": "main", "session": SEED, "thread": OTHER, "tier": "explicit", "session_id": THIRD, "slot": 3,
    "request_id": "pb1-s", "scope": "0" * 32, "client": "laptop", "digest": "ab", "headers": "",
}  # fmt: skip


def test_a_flow_tells_how_it_was_served() -> None:
    found = PriorServing("main", SEED, OTHER, "explicit", THIRD, 3)
    flow = _flow(served=SERVED)

    assert stored_flows.served(flow, KEY, ours=False) == found
    assert stored_flows.served(flow, KEY, ours=True) == replace(found, digest="ab")
    assert stored_flows.served(_flow(), KEY, ours=True) == PriorServing()


def test_headers_that_were_changed_since_count_as_an_edit_where_the_flow_is_ours() -> None:
    flow = _flow()
    flow.metadata["patchbay.served"] = SERVED | {"headers": flow_record.headers_digest(flow.request, KEY)}
    assert not stored_flows.served(flow, KEY, ours=True).edited
    flow.request.headers["x-mine"] = "1"

    assert stored_flows.served(flow, KEY, ours=True).edited
    assert not stored_flows.served(flow, KEY, ours=False).edited, "under another key the digest says nothing"


def test_flows_from_before_there_was_a_served_record_tell_it_by_their_line_and_last_attempt() -> None:
    line = {"account": "main", "session": SEED, "thread": OTHER, "tier": "explicit", "session_id": THIRD}
    sent = [{"digest": "01"}, {"digest": "02"}, {"digest": "03"}]

    found = PriorServing("main", SEED, OTHER, "explicit", THIRD)
    assert stored_flows.served(_flow(**line, sent=sent), KEY, ours=True) == replace(found, digest="03")
    assert stored_flows.served(_flow(**line), KEY, ours=True) == found


@pytest.mark.parametrize("odd", [None, 5, "", "a" * 65, "a b", "a\n", "é", ["a"]])
def test_no_seed_that_we_would_not_write_goes_upstream(odd: object) -> None:
    """T12: they are sent as session ids; of a slot only a number counts."""
    flow = _flow(served=SERVED | {"session": odd, "thread": odd, "session_id": odd, "slot": str(odd)})

    assert stored_flows.served(flow, KEY, ours=True) == PriorServing("main", tier="explicit", digest="ab")


@pytest.mark.parametrize(
    ("served", "scope"),
    [
        (SERVED, bytes(16)),
        ({"scope": ""}, b""),
        ({}, b""),
        ({"scope": "00"}, None),
        ({"scope": "0" * 34}, None),
        ({"scope": "no hex"}, None),
        (None, None),
        ("x", None),
    ],
)
def test_the_scope_of_a_client_is_empty_or_of_sixteen_bytes(served: object, scope: bytes | None) -> None:
    assert stored_flows.scope(_flow(served=served)) == scope


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"client": "line"}, "line"),
        ({"client": "line", "served": SERVED}, "laptop"),
        ({"client": "line", "served": SERVED | {"client": ""}}, "line"),
        ({}, ""),
    ],
)
def test_the_client_of_a_flow_is_that_of_its_last_exchange(metadata: dict[str, object], found: str) -> None:
    assert stored_flows.client(_flow(**metadata)) == found


def test_a_flow_s_record_is_its_line_and_what_stands_beside_it() -> None:
    flow = _flow(
        account="main", status=200, attempts=[{"outcome": "ok"}, 5], served=SERVED, candidates={"a": "busy", 1: 2},
        exchanges=[{"account": "x", "attempts": "none"}, 5], sent=[RECORD], evidence=[],
    )  # fmt: skip
    flow.metadata["other.addon"] = 1
    found = stored_flows.record_of(flow, KEY, ours=True)

    assert found is not None
    assert found.line == {"account": "main", "status": 200, "attempts": [{"outcome": "ok"}]}
    assert found.served == stored_flows.served(flow, KEY, ours=True)
    assert (found.scope, found.candidates) == (bytes(16), {"a": "busy", "1": "2"})
    assert found.messages == ({"account": "x", "attempts": []},)


@pytest.mark.parametrize("metadata", [{}, {"served": SERVED, "status": 200}])
def test_a_flow_without_an_account_in_its_line_says_nothing(metadata: dict[str, object]) -> None:
    assert stored_flows.record_of(_flow(**metadata), KEY, ours=True) is None


@pytest.mark.parametrize("odd", [None, 5, "x", ["a"]])
def test_candidates_that_are_no_table_are_none(odd: object) -> None:
    found = stored_flows.record_of(_flow(account="", candidates=odd), KEY, ours=True)

    assert found is not None and found.candidates is None and found.messages == ()


@pytest.mark.parametrize(
    ("value", "placeholder"),
    [("patchbay", True), ("Bearer patchbay:main", True), ("patchbay:a\nb", True), ("Bearer x", False),
     ("xpatchbay", False), ("", False), ("\udcff", False)],
)  # fmt: skip
def test_only_placeholders_are_left_out_of_the_headers(value: str, placeholder: bool) -> None:
    assert stored_flows.is_placeholder(value) is placeholder
    kept = stored_flows.without_placeholders(Headers((("a", value), ("b", "1"))))
    assert tuple(kept) == ((("b", "1"),) if placeholder else (("a", value), ("b", "1")))


# -- the flows of a dump -----------------------------------------------------------------------------------------------


def _dump(path: Path, flows: Iterable[object]) -> Path:
    with path.open("wb") as file:
        for flow in flows:
            io.FlowWriter(file).add(flow)  # type: ignore[arg-type]
    return path


def test_each_http_flow_of_a_dump_is_read(tmp_path: Path) -> None:
    ours, answered = _flow(account="main", served=SERVED), _flow()
    ours.request.host, ours.request.scheme = "API.Example", "HTTPS"
    assert answered.response
    answered.response.headers["x-patchbay-account"] = "named"
    alone = tflow.tflow()
    alone.request.raw_content = None
    asked: list[str] = []
    path = _dump(tmp_path / "x", [ours, tflow.ttcpflow(), answered, alone])
    first, second, third = stored_flows.flows(path, KEY, lambda id: not asked.append(id))  # type: ignore[func-returns-value]

    assert asked == ["pb1-s", "", ""]
    assert (first.method, first.origin, first.path) == ("GET", Origin("https", "api.example", 22), "/path")
    assert tuple(first.headers) == tuple(ours.request.headers.items(multi=True))
    assert first.body == b"content" and first.answer == b"message"
    assert isinstance(first.head, Head) and first.head.status == 200
    assert first.record and first.record.served.digest == "ab" and first.account == "main"
    assert (second.record, second.account) == (None, "named")
    assert (third.head, third.answer, third.body, third.account, third.messages) == (None, b"", b"", "", ())


def test_only_the_first_flows_of_a_long_dump_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_flows, "LIMIT", 2)
    path = _dump(tmp_path / "x", [_flow(sent=[RECORD]) for _ in range(4)])

    assert len(list(stored_flows.exchanges(path, mint_of(KEY)))) == 2


# -- WebSockets --------------------------------------------------------------------------------------------------------


def _socket(*records: object, forgotten: int = 0) -> HTTPFlow:
    """Return a WebSocket whose kept messages are numbered from *forgotten*; every third is the client's."""
    flow = tflow.twebsocketflow()
    assert flow.websocket
    numbers = range(forgotten, 9)
    flow.websocket.messages = [
        WebSocketMessage(Opcode.TEXT, at % 3 == 0, b'{"at": %d}' % at, injected=at == 5) for at in numbers
    ]
    flow.metadata |= {"patchbay.on_socket": list(records), "patchbay.forgotten": forgotten}
    return flow


def _at(at: int) -> bytes:
    return b'{"at": %d}' % at


@pytest.mark.parametrize(
    ("places", "forgotten", "asked", "answer", "is_cut"),
    [
        ((0, 1, 2), 0, 0, (1, 2), False),
        ((3, 4, 7), 0, 3, (4, 7), False),  # without what was injected, and what the client said meanwhile
        ((3, 4, 7), 2, 3, (4, 7), False),
        ((3, 4, 7), 3, 3, (4, 7), False),
        ((3, 2, 4), 3, 3, (4,), False),
        ((3, 4, 7), 5, None, (7,), True),
        ((6, -1, -1), 0, 6, (), False),
        ((6, 0, 1), 2, 6, (), False),
        ((9, -1, -1), 0, None, (), False),
        ((-1, -1, -1), 0, None, (), True),
        ((None, "1", None), 0, None, (), True),
    ],
)
def test_the_messages_of_an_exchange_are_found_by_their_places(
    places: tuple[object, object, object], forgotten: int, asked: int | None, answer: tuple[int, ...], is_cut: bool
) -> None:
    """T12: what is not kept any more cannot be judged again."""
    record = dict(zip(("request", "first", "last"), places, strict=True))
    told = {"sent": [RECORD, 5], "verdict": "crosstalk", "victim": "someone"}
    [found] = stored_flows.exchanges_of(_socket(record | told, forgotten=forgotten), mint_of(KEY))

    assert found.request.raw == (None if asked is None else _at(asked))
    assert found.messages == tuple(map(_at, answer))
    assert (found.head is not None, found.head and found.head.status) == ((True, 200) if answer else (False, None))
    assert (found.cut, found.ours) == (is_cut, is_cut)
    assert (found.attempts, found.recorded, found.victim) == ((RECORD,), "crosstalk", "someone")


def test_a_socket_is_read_with_the_exchanges_whose_message_is_kept(tmp_path: Path) -> None:
    sent = [{"account": "x"}, {"account": "main", "affinity": SEED, "thread": OTHER}]
    flow = _socket(
        {"request": 3, "first": 4, "last": 4, "sent": sent},
        {"request": 0, "first": 1, "last": 1, "sent": sent},
        {"request": 6, "first": -1, "last": -1, "sent": []},
        forgotten=2,
    )
    [found] = stored_flows.flows(_dump(tmp_path / "x", [flow]), KEY, lambda id: True)

    first, second = found.messages
    assert (first.request.raw, first.answer) == (_at(3), (_at(4),))
    assert first.served == PriorServing("main", SEED, OTHER)
    assert (second.request.raw, second.answer, second.served) == (_at(6), (), PriorServing())


def test_a_flow_that_is_no_socket_has_no_messages() -> None:
    assert list(stored_flows.exchanges_of(_flow(on_socket=[{"request": 0}]), mint_of(KEY))) == []


# -- behind Patchbay ---------------------------------------------------------------------------------------------------


def _behind(mint: Mint, name: str = "X-Request-Id", *, answered: bool = True) -> tuple[str, list[StoredExchange]]:
    flow = tflow.tflow(resp=answered)
    request_id = mint.new(0.0, bytes)
    flow.request.headers = FlowHeaders(((name.encode(), request_id.encode()),))
    flow.request.method, flow.request.path, flow.request.host = "POST", "/v1/responses?x=1", "api.example"
    flow.request.timestamp_start = 5.0
    if flow.response:
        flow.response.timestamp_end = 7.0
    return request_id, list(stored_flows.exchanges_of(flow, mint))


@pytest.mark.parametrize("name", ["X-Request-Id", "X-Patchbay-Request-Id"])
def test_a_flow_that_was_stored_behind_patchbay_is_known_by_our_id(name: str) -> None:
    mint = mint_of(KEY)
    request_id, [found] = _behind(mint, name)

    [record] = found.attempts
    assert record["request_id"] == record["exchange"] == request_id
    echoed = {"header x-request-id": request_id} if name == "X-Request-Id" else {}
    assert record["expected"] == echoed | {"body request_id": request_id}
    assert (record["host"], record["dialect"], record["version"]) == ("api.example", "openai_responses", VERSION)
    assert (record["at"], record["seen"][0], record["seen"][-1]) == ([0, 5.0], [0, 7.0], [255, 7.0])
    assert (record["headers"], record["body"]) == ({"x-request-id": "handler"}, {"request_id": "body"})
    assert len(record["seen"]) == 256 and record["generation"] is True and record["promised"] is False
    assert _behind(mint, answered=False)[1][0].attempts[0]["seen"][0] == [0, 5.0]


def test_an_id_of_another_key_is_not_ours() -> None:
    other = mint_of(b"o" * 32)
    flow = tflow.tflow(resp=True)
    flow.request.headers["x-request-id"] = other.new(0.0, bytes)

    assert list(stored_flows.exchanges_of(flow, mint_of(KEY))) == []


def test_a_flow_tells_which_verdicts_its_answer_changed_and_how_its_own_was() -> None:
    mine, other = {"exchange": "b", "by": "a"}, {"exchange": "c", "by": "another"}
    flow = _flow(sent=[{"exchange": "a", "request_id": "r"}], amends=[mine, other, "odd"], amended=[other, 7])

    (found,) = stored_flows.exchanges_of(flow, mint_of(KEY))
    assert (found.amends, found.amended) == ((mine,), (other,))
