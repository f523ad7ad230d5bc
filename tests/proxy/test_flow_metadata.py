"""Values that a dump from anywhere may hold."""

from __future__ import annotations

import pytest
from mitmproxy.test import tflow

from patchbay.proxy import flow_metadata
from patchbay.values.decision import Decision


@pytest.mark.parametrize("odd", [None, True, -1, 1.5, "x", b"\xff", {"a": 1}])
def test_what_is_no_list_holds_no_records(odd: object) -> None:
    assert flow_metadata.records(odd) == []


def test_a_list_holds_the_objects_in_it() -> None:
    assert flow_metadata.records([1, {"a": 1}, None, {}]) == [{"a": 1}, {}]
    assert flow_metadata.records(({"a": 1},)) == [{"a": 1}]


def test_only_text_is_text() -> None:
    assert flow_metadata.text({"a": "b", "c": 1}, "a") == "b"
    assert flow_metadata.text({"a": "b", "c": 1}, "c") == flow_metadata.text({}, "a") == ""


@pytest.mark.parametrize(("value", "found"), [(3, 3), ("3", 0), (None, 0)])
def test_only_a_number_counts_what_was_forgotten(value: object, found: int) -> None:
    flow = tflow.tflow()
    assert flow_metadata.forgotten(flow) == 0
    flow.metadata["patchbay.forgotten"] = value
    assert flow_metadata.forgotten(flow) == found


def test_the_names_of_the_line_are_members_of_a_decision() -> None:
    """And what stands beside the line is none of them."""
    members = {f"patchbay.{name}" for name in Decision.__struct_fields__}
    names = {value for name, value in vars(flow_metadata).items() if name.isupper() and isinstance(value, str)}
    assert {flow_metadata.ACCOUNT, flow_metadata.CLIENT, flow_metadata.VERDICT} <= members
    assert names - members - {flow_metadata.PREFIX} == flow_metadata.BESIDE_THE_LINE
