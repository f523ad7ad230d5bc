"""What a request repeats of the one before: by digests, without marks of a cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.body import Body
from patchbay.crosstalk import sent_prefixes
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.crosstalk.sent_prefixes import SentPrefixes, prefix_of, repeats
from patchbay.ledger import Entry
from patchbay.values.decision import Finding

from .detectors.contexts import request

USER, SAID, NEXT = (
    {"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
)
MARK = {"type": "ephemeral", "ttl": "1h"}


def asked(*messages: Any, **members: Any) -> RequestSummary:
    return request("anthropic", "m", messages=list(messages), **members)


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def repeated(later: RequestSummary, earlier: RequestSummary, name: str = "", **more: Any) -> bool:
    prefix = prefix_of(earlier)
    assert prefix is not None
    return repeats(later, prefix, name, **more)


@pytest.mark.parametrize(
    ("earlier", "later", "same"),
    [
        ([USER], [USER, SAID, NEXT], True),
        ([USER], [USER], False),  # nothing was added
        ([USER, SAID, NEXT], [USER], False),
        ([USER], [SAID, USER], False),
        ([USER, NEXT], [NEXT, USER, SAID], False),
        ([USER], [USER, NEXT], False),  # a provider may read them as one
        ([USER, NEXT], [USER, NEXT, SAID], True),
        (["a"], ["a", "b"], True),
        ([{"role": None}], [{"role": None}, {"role": None}], True),
        ([USER], [{"role": "user", "content": [part("a")]}, SAID], True),
        ([{"role": "user", "content": [part("a", cache_control=MARK)]}], [USER, SAID], True),
        ([{"role": "user", "content": [part("a", cache_control=None)]}], [USER, SAID], True),
        ([{"role": "user", "content": [part("a"), part("b")]}], [USER, SAID], False),
        ([{"role": "user", "content": 'a"}'}], [{"role": "user", "content": [part('a"}')]}, SAID], True),
        ([{"role": "user", "content": '"cache_control":null'}], [{"role": "user", "content": ""}, SAID], False),
        ([], [USER], True),
    ],
)
def test_a_history_is_repeated_where_it_goes_on(earlier: list[Any], later: list[Any], same: bool) -> None:
    assert repeated(asked(*later), asked(*earlier)) is same


@pytest.mark.parametrize("name", ["model", "system", "tools"])
def test_each_member_is_compared_by_itself_and_with_the_history(name: str) -> None:
    members = {"system": "s", "tools": [{"name": "t"}]}
    other = request("anthropic", "other", messages=[USER, SAID], **members) if name == "model" else asked(
        USER, SAID, **members | {name: "different"}
    )  # fmt: skip

    assert repeated(asked(USER, SAID, **members), asked(USER, **members), name)
    assert not repeated(other, asked(USER, **members), name)
    assert not repeated(other, asked(USER, **members))


def test_a_model_at_another_speed_is_another_one() -> None:
    assert repeated(asked(USER, SAID, speed="fast"), asked(USER, speed="fast"), "model")
    assert not repeated(asked(USER, SAID, speed="fast"), asked(USER), "model")
    assert not repeated(asked(USER, SAID, speed="fast"), asked(USER))


@pytest.mark.parametrize("own", [{"type": "mcp_toolset", "mcp_server_name": "x"}, {"type": "mcp", "server_label": "x"}])
def test_tools_that_the_provider_adds_to_may_change_there(own: dict[str, Any]) -> None:
    tools = [{"name": "t", "input_schema": {}}, own]

    assert not repeated(asked(USER, SAID, tools=tools), asked(USER, tools=tools), "tools")
    assert repeated(asked(USER, SAID, tools=tools), asked(USER, tools=tools))
    assert repeated(asked(USER, SAID, tools=tools[:1]), asked(USER, tools=tools[:1]), "tools")


def test_a_member_that_nobody_compares_is_not_repeated() -> None:
    assert not repeated(asked(USER, SAID), asked(USER), "diagnostics")


@pytest.mark.parametrize(("messages", "same"), [(1, True), (2, False), (0, False)])
def test_a_history_must_have_the_length_that_is_named(messages: int, same: bool) -> None:
    assert repeated(asked(USER, SAID), asked(USER), messages=messages) is same


@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b'["\xff"]', b'[{"role":"user","content":"']))
def test_any_bytes_are_a_history_or_none(raw: bytes) -> None:
    endpoint = dialects.endpoint("POST", "/v1/messages")
    summary = RequestSummary(endpoint, Body(b'{"messages":' + raw + b"}"), "m", False)
    known = prefix_of(asked(USER))

    assert known is not None
    assert not repeats(summary, known, "")
    prefix_of(summary)


def test_a_history_that_is_a_text_is_not_compared() -> None:
    assert prefix_of(request("openai_responses", input="hello")) is None


def test_answers_are_found_by_host_and_id_and_by_exchange_and_the_last_of_a_thread() -> None:
    sent = SentPrefixes()
    entry = Entry("x1", account="one", thread="t")
    beside = [Entry(str(number)) for number in range(sent_prefixes._BESIDE + 1)]
    sent.note("h", "msg_1", entry, asked(USER), beside)
    sent.note("h", "msg_2", Entry("x2", account="one"), asked(USER), [])
    sent.note("h", "msg_3", Entry("x3", account="one", thread="t"), request("openai_responses", input="text"), [])

    told = sent.compared("h", "msg_1")
    assert told is not None
    assert told == sent.of_exchange("x1")
    assert (told.entry, told.beside) == (entry, tuple(beside[:-1]))
    assert (sent.compared("other", "msg_1"), sent.compared("h", "msg_3"), sent.of_exchange("x3")) == (None,) * 3
    assert [sent.last(*who) for who in (("one", "t"), ("two", "t"), ("one", ""))] == ["msg_1", "", ""]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_prefixes, "_KNOWN", 1)
    sent = SentPrefixes()
    for name in ("1", "2"):
        sent.note("h", name, Entry(name, thread=name), asked(USER), [])

    assert (sent.compared("h", "1"), sent.of_exchange("1"), sent.last("", "1")) == (None, None, "")
    assert sent.last("", "2") == "2"


def test_a_host_compares_once_it_has_compared_with_any_answer() -> None:
    sent = SentPrefixes()
    sent.note("h", "msg_1", Entry("x1"), asked(USER), [])
    assert not sent.is_compared_at("h")

    assert sent.compared("h", "msg_of_nobody") is None
    assert (sent.is_compared_at("h"), sent.is_compared_at("other")) == (True, False)


def test_of_hosts_that_compare_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_prefixes, "_KNOWN", 1)
    sent = SentPrefixes()
    for host in ("h", "other"):
        sent.compared(host, "msg_1")

    assert (sent.is_compared_at("h"), sent.is_compared_at("other")) == (False, True)


def test_64_findings_without_a_victim_are_kept() -> None:
    sent = SentPrefixes()
    for number in range(65):
        sent.nameless[f"x{number}"] = Finding("next-turn", "attestation", "strong", "body", "", "", "unknown")

    assert (len(sent.nameless), "x0" in sent.nameless, "x1" in sent.nameless) == (64, False, True)


@pytest.mark.parametrize("more", [{"type": "message"}, {"id": "msg_1"}])
def test_a_text_of_a_message_with_more_members_is_no_list_of_parts(more: dict[str, Any]) -> None:
    """Such a text is compared as it stands: the members around it must be the same as well."""
    text = {"role": "user", "content": "a"}
    for first in (text | more, more | text):
        assert repeated(asked(first, SAID), asked(first))
        assert not repeated(asked(first, SAID), asked(text))
        assert not repeated(asked({**first, "content": [part("a")]}, SAID), asked(first))
