"""What Patchbay adds to the metadata of an answer is taken out again, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.body import Body
from patchbay.correlation import Mint
from patchbay.frozen import replace
from patchbay.returned_stamps import repeats_stamp, without_stamp
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Depth, Echo
from patchbay.values.http import Headers, Origin, Request

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
        ('{"metadata":{"a":{"b":[1,{"c":"}"}]},"pb":"ID","d":5}}', '{"metadata":{"a":{"b":[1,{"c":"}"}]},"d":5}}'),
        ('{"metadata":{"a":"b","pb":"ID","pb":"ID"}}', '{"metadata":{"a":"b"}}'),
        ('{"metadata":{"pb":"ID","a":"b","pb":"ID","c":"d","pb":"ID"}}', '{"metadata":{"a":"b","c":"d"}}'),
        ('{"metadata":{"p\\u0062":"\\u0070b1-REST"}}', '{"metadata":{}}'),
        ('{"metadata":{"pb":"UPPER"}}', '{"metadata":{}}'),
        ('{"metadata":{"a":"b","pb":"ID"', '{"metadata":{"a":"b"'),
        ('[{"metadata":{"pb":"ID"}},{"metadata":{"pb":"ID"}}]', '[{"metadata":{}},{"metadata":{}}]'),
        *((same, same) for same in (
            '{"metadata":{"pb":"mine"}}',
            '{"metadata":{"pb":"IDmore"}}',
            '{"metadata":{"pb":null}}',
            '{"metadata":null,"pb":"ID"}',
            '{"metadata":{"pb":{"pb":"ID"}}}',
            '{"other":{"pb":"ID"}}',
            '{"pb":"ID"}',
            '{"text":"{\\"metadata\\":{\\"pb\\":\\"ID\\"}}"}',
            '{"metadata":{"pb":["ID"]}}',
            '{"metadata":{"pb":ID}}',
            '{"metadata":["pb","ID"]}',
            '{"metadata":{"pb":"ID-of-a-gateway"}}',
            '{"metadata":{"metadata":{"pb":"ID"}}}',
            '{"metadata":{',
            '{"metadata":{"pb":"pb1-',
            "",
        )),
    ],
)  # fmt: skip
def test_only_our_id_in_metadata_is_taken_out(sent: str, left: str) -> None:
    sent = sent.replace("ID", ID).replace("UPPER", ID.upper()).replace("REST", ID[4:])
    assert without_stamp(sent.encode()) == left.replace("ID", ID).encode()


@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,\\ pb', max_size=80).map(str.encode))
def test_of_any_bytes_the_rest_stays(inside: bytes) -> None:
    text = b'{"metadata":{' + inside
    assert without_stamp(text) == text


def test_metadata_in_metadata_are_read_once() -> None:
    deep = b'{"metadata":' * 100_000
    assert without_stamp(deep) == deep


@pytest.mark.parametrize(
    ("path", "body", "echo", "may"),
    [
        ("/v1/responses", {}, {"metadata.pb": "body"}, True),
        ("/v1/responses", {"metadata": {"a": "b"}}, {"metadata.pb": "body"}, True),
        ("/v1/responses", {"metadata": {"pb": ID}}, {"metadata.pb": "body"}, False),
        ("/v1/responses", {}, {"metadata.request_id": "body"}, False),
        ("/v1/responses/resp_1/cancel", {}, {"metadata.pb": "body"}, True),
        ("/v1/chat/completions", {}, {"metadata.pb": "body"}, False),
    ],
)
def test_where_an_answer_may_repeat_it(path: str, body: dict[str, Any], echo: dict[str, Depth], may: bool) -> None:
    endpoint, origin = dialects.endpoint("POST", path), Origin("http", "host", 80)
    asked = Request("POST", path, Headers(), Body(json.dumps(body).encode()), endpoint, origin)

    assert repeats_stamp(replace(PRESETS["openai"], echo=Echo(body=echo)), asked) is may


def test_events_are_read_one_after_another() -> None:
    event = 'event: response.created\ndata: {"response":{"metadata":{"a":"b","pb":"ID"},"n":1}}\n\n'.replace("ID", ID)

    assert b"pb" not in without_stamp(event.encode() * 3)
    assert without_stamp(event.encode() * 3).count(b'"metadata":{"a":"b"}') == 3
