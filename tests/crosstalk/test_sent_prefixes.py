"""What a request repeats of the one before: by digests, without marks of a cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.body import Body
from patchbay.correlation import Mint
from patchbay.crosstalk import sent_prefixes
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.crosstalk.sent_prefixes import Answered, SentPrefixes, prefix_of, repeats
from patchbay.frozen import replace
from patchbay.ledger import Entry
from patchbay.values.decision import Finding

from .detectors.contexts import request

USER, SAID, NEXT = (
    {"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
)
KEYED = Mint(bytes(32)).keyed
MARK = {"type": "ephemeral", "ttl": "1h"}


def asked(*messages: Any, **members: Any) -> RequestSummary:
    return request("anthropic", "m", messages=list(messages), **members)


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def repeated(later: RequestSummary, earlier: RequestSummary, name: str = "", **more: Any) -> bool:
    prefix = prefix_of(earlier, KEYED)
    assert prefix is not None
    return repeats(later, prefix, name, KEYED, **more)


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
        ([{"role": "user", "content": [part("a", prompt_cache_breakpoint={})]}], [USER, SAID], True),
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
    known = prefix_of(asked(USER), KEYED)

    assert known is not None
    assert not repeats(summary, known, "", KEYED)
    prefix_of(summary, KEYED)


def test_a_history_that_is_a_text_is_not_compared() -> None:
    assert prefix_of(request("openai_responses", input="hello"), KEYED) is None


def answered(name: str, *beside: Entry, account: str = "", thread: str = "", seals: tuple[bytes, ...] = ()) -> Answered:
    prefix = prefix_of(asked(USER), KEYED)
    assert prefix is not None
    return Answered(Entry(name, account=account, thread=thread), prefix, 1.0, beside, seals)


def test_answers_are_found_by_host_and_id_by_exchange_and_seal_and_the_last_of_a_thread() -> None:
    sent = SentPrefixes()
    told = answered("x1", Entry("2"), account="one", thread="t", seals=(b"1", b"2"))
    sent.note("h", "msg_1", told)
    sent.note("h", "msg_2", answered("x2", account="one"))

    assert sent.compared("h", "msg_1") == (told,)
    assert [sent.of_exchange("x1"), sent.sealed(b"1"), sent.sealed(b"2")] == [told] * 3
    assert sent.compared("other", "msg_1") == ()
    assert [sent.of_exchange("x3"), sent.sealed(b"3")] == [None] * 2
    assert [sent.last(*who) for who in (("one", "t"), ("two", "t"), ("one", ""))] == ["msg_1", "", ""]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_prefixes, "_KNOWN", 1)
    sent = SentPrefixes()
    for name in ("1", "2"):
        sent.note("h", name, answered(name, thread=name, seals=(name.encode(),)))

    forgotten = sent.compared("h", "1"), sent.of_exchange("1"), sent.last("", "1"), sent.sealed(b"1")
    assert forgotten == ((), None, "", None)
    assert sent.last("", "2") == "2"


def test_a_host_compares_once_it_has_compared_with_any_answer() -> None:
    sent = SentPrefixes()
    sent.note("h", "msg_1", answered("x1"))
    assert not sent.is_compared_at("h")

    assert sent.compared("h", "msg_of_nobody") == ()
    assert (sent.is_compared_at("h"), sent.is_compared_at("other")) == (True, False)


def test_of_hosts_that_compare_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_prefixes, "_KNOWN", 1)
    sent = SentPrefixes()
    for host in ("h", "other"):
        sent.compared(host, "msg_1")

    assert (sent.is_compared_at("h"), sent.is_compared_at("other")) == (False, True)


def test_64_findings_are_kept() -> None:
    sent = SentPrefixes()
    for number in range(65):
        found = Finding("next-turn", "attestation", "strong", "body", "", "", "unknown")
        sent.told[f"x{number}"] = found, answered(f"x{number}"), False

    assert (len(sent.told), "x0" in sent.told, "x1" in sent.told) == (64, False, True)


@pytest.mark.parametrize("more", [{"type": "message"}, {"id": "msg_1"}])
def test_a_text_of_a_message_with_more_members_is_no_list_of_parts(more: dict[str, Any]) -> None:
    """Such a text is compared as it stands: the members around it must be the same as well."""
    text = {"role": "user", "content": "a"}
    for first in (text | more, more | text):
        assert repeated(asked(first, SAID), asked(first))
        assert not repeated(asked(first, SAID), asked(text))
        assert not repeated(asked({**first, "content": [part("a")]}, SAID), asked(first))


def test_of_those_that_received_one_answer_the_last_few_are_known() -> None:
    sent = SentPrefixes()
    sent.watch()
    for number in range(6):
        (sent.note if number != 4 else sent.adopt)("h", "msg_1", replace(answered(str(number)), ours=number != 4))

    assert [told.entry.exchange for told in sent.compared("h", "msg_1")] == ["5", "4", "3", "2"]
    assert [told.entry.exchange for _, _, told in sent.changes()] == ["5", "3", "2"]


def test_what_is_noted_here_is_told_to_others_once_and_what_they_told_is_not() -> None:
    sent = SentPrefixes()
    sent.note("h", "before", answered("x0"))
    sent.watch()
    sent.note("h", "msg_1", answered("x1"))
    sent.note("h", "m" * 257, answered("x2"))
    sent.note("h", "m" * 256, answered("x4"))
    sent.adopt("h", "msg_3", answered("x3"))

    assert sent.changes() == [("h", "msg_1", answered("x1")), ("h", "m" * 256, answered("x4"))]
    assert sent.changes() == []
