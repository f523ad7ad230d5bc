"""What Patchbay adds to the metadata of an answer is taken out again, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.correlation import Mint
from patchbay.returned_stamps import without_stamp

ID = Mint(b"k" * 32).new(1_760_000_000.0, lambda size: b"a" * size)
TEXTS = st.text(max_size=12) | st.sampled_from(['"pb":"x"', "}, {", '\\"', '"metadata":{', "pb", "\\"])
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(TEXTS, TEXTS, max_size=4), st.data(), NESTED, st.sampled_from([None, 2, "compact"]), st.booleans()
)
def test_the_client_s_bytes_come_back(
    metadata: dict[str, str], data: st.DataObject, beside: Any, layout: Any, ascii_only: bool
) -> None:
    metadata.pop("pb", None)
    at = data.draw(st.integers(0, len(metadata)))
    items = list(metadata.items())
    stamped = dict([*items[:at], ("pb", ID), *items[at:]])

    def written(inside: dict[str, str]) -> bytes:
        answer = {"id": "resp_1", "metadata": inside, "output": [{"text": json.dumps({"metadata": stamped})}, beside]}
        laid_out = {"separators": (",", ":")} if layout == "compact" else {"indent": layout}
        return json.dumps(answer, ensure_ascii=ascii_only, **laid_out).encode("utf-8", "surrogatepass")

    assert json.loads(without_stamp(written(stamped))) == json.loads(written(metadata))
    if layout == "compact":  # else the blank behind a comma goes too
        assert without_stamp(written(stamped)) == written(metadata)
    assert without_stamp(written(metadata)) == written(metadata)


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ('{"metadata":{"pb":"ID"}}', '{"metadata":{}}'),
        ('{"metadata" : { "pb" : "ID" } }', '{"metadata" : {  } }'),
        ('{"metadata":{"pb":"ID","a":"b"}}', '{"metadata":{"a":"b"}}'),
        ('{"metadata":{"a":"b","pb":"ID"}}', '{"metadata":{"a":"b"}}'),
        ('{"metadata":{"a":"b","pb":"ID","c":"d"}}', '{"metadata":{"a":"b","c":"d"}}'),
        *((same, same) for same in (
            '{"metadata":{"pb":"mine"}}',
            '{"metadata":{"pb":"IDmore"}}',
            '{"metadata":{"pb":null}}',
            '{"metadata":null,"pb":"ID"}',
            '{"metadata":{"pb":{"pb":"ID"}}}',
            '{"other":{"pb":"ID"}}',
            '{"pb":"ID"}',
            '{"text":"{\\"metadata\\":{\\"pb\\":\\"ID\\"}}"}',
            '{"metadata":{"a":"b","pb":"ID"',
            "",
        )),
    ],
)  # fmt: skip
def test_only_our_id_in_metadata_of_texts_is_taken_out(sent: str, left: str) -> None:
    assert without_stamp(sent.replace("ID", ID).encode()) == left.replace("ID", ID).encode()


def test_events_are_read_one_after_another() -> None:
    event = 'event: response.created\ndata: {"response":{"metadata":{"a":"b","pb":"ID"},"n":1}}\n\n'.replace("ID", ID)

    assert b"pb" not in without_stamp(event.encode() * 3)
    assert without_stamp(event.encode() * 3).count(b'"metadata":{"a":"b"}') == 3
