"""What a dump says about its exchanges comes from the flows' metadata, and dumps of earlier releases are still read."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow, io
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from patchbay.crosstalk.reverify import Judged, judge
from patchbay.proxy import flow_record, stored_flows
from patchbay.replacement import CROSSTALK
from patchbay.router import mint_of

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
    then = [each for each in before if each.verdict.note == "the verdict of then"]

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
    ("metadata", "found"),
    [
        ({"request_id": "pb1-line"}, "pb1-line"),
        ({"request_id": "x", "served": {"request_id": "pb1-s"}}, "pb1-s"),
        ({}, ""),
    ],
)
def test_the_id_of_a_flow_is_that_of_the_attempt_that_served_it(metadata: dict[str, object], found: str) -> None:
    assert stored_flows.request_id(_flow(**metadata)) == found
