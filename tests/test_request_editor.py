"""The edits of one attempt: ids, sessions, and what of a request stays with the account that it belongs to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import FailoverSettings, SessionSettings
from patchbay.values.account import Account, Models
from patchbay.values.answer import AnswerEvent, Chunk, End, Head
from patchbay.values.decision import Refusal
from patchbay.values.http import Client, Headers, PriorServing, Request

from .test_router import JSON, SSE, account, answer, bad, events, opened, request, routed, router


def responses(*items: Any, **more: Any) -> Request:
    asked = {"model": "m", "input": [{"role": "user", "content": "hello"}, *items], "store": False, **more}
    return request(asked, "/v1/responses", x_session_id="s")


def reasoned(sealed: str, number: int = 1) -> tuple[Head, Chunk, End]:
    reasoning = {"id": f"rs_{number}", "type": "reasoning", "summary": [], "encrypted_content": sealed}
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    said = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [reasoning, message]}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def sealed_item(sealed: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": sealed}


def served(of: Router, asked: Request, now: float, *what: AnswerEvent) -> Lease:
    exchange = opened(of, asked, now)
    route = routed(of, exchange, now)
    answer(of, exchange, *what, now=now)
    of.close(exchange, "", now)
    return route


UNREADABLE = bad(400, code="invalid_encrypted_content", type="invalid_request_error")
OUT = bad(429, code="insufficient_quota", type="insufficient_quota")
SEAL = "gAAAAABsealed0123456789abcdefXYZ"


def begun(owner: str) -> tuple[Router, str]:
    """Return a router at which an answer with sealed reasoning was given, and the account that gave it."""
    of = router(account("a"), account("b"), account("c"), failover=FailoverSettings(encrypted_reasoning=owner))  # type: ignore[arg-type]
    return of, served(of, responses(), 0, *reasoned(SEAL)).account.id


def test_sealed_reasoning_stays_home_while_its_account_is_well() -> None:
    of, home = begun("strip")
    route = served(of, responses(sealed_item(SEAL)), 1, *reasoned("gAAAAABother9876543210zyx", 2))

    assert (route.account.id, route.body) == (home, None)


def test_by_refuse_a_conversation_whose_account_is_out_hears_what_to_do() -> None:
    """A3: the refusal names the account, what it owns, how long it is out, and the setting."""
    of, home = begun("refuse")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    answer(of, exchange, *OUT, now=1)
    refused = of.next(exchange, 1)

    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (503, "owner_unavailable")
    assert refused.message.startswith(f"Account {home} owns this conversation's encrypted reasoning and is out for ")
    assert refused.message.endswith("start a new conversation, or set failover.encrypted_reasoning to strip")


def test_by_try_another_account_gets_it_as_it_is() -> None:
    """A3: and what it says to that is the answer."""
    of, home = begun("try")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    answer(of, exchange, *OUT, now=1)
    route = routed(of, exchange, 1)

    assert (route.account.id != home, route.body) == (True, None)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "deliver"


def test_by_strip_it_goes_on_without_what_another_account_sealed() -> None:
    """A3: within one exchange, at the account that refused it, once; and the next turn goes there so at once."""
    of, home = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    assert routed(of, exchange, 1).account.id == home
    assert answer(of, exchange, *OUT, now=1)[-1] == "next"
    tried = routed(of, exchange, 1)
    assert tried.body is None
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "next"
    stripped = routed(of, exchange, 1)
    assert stripped.account.id == tried.account.id != home
    assert [item.get("type") for item in json.loads(stripped.body or b"")["input"]] == [None]
    theirs = "gAAAAABtheirs9876543210zyxwvu"
    answer(of, exchange, *reasoned(theirs, 2), now=1)
    of.close(exchange, "", 1)

    route = served(of, responses(sealed_item(SEAL), sealed_item(theirs)), 2, *reasoned("gAAAAABthird0123456789abc", 3))
    assert route.account.id == tried.account.id
    assert [item.get("encrypted_content") for item in json.loads(route.body or b"")["input"]] == [None, theirs]


def test_what_is_refused_without_what_was_sealed_is_refused() -> None:
    """A3: no second time, and not where there is nothing to take out."""
    of, _ = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "next"
    routed(of, exchange, 1)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "deliver"
    plain = opened(of, responses(), 2)
    routed(of, plain, 2)
    assert answer(of, plain, *UNREADABLE, now=2)[-1] == "deliver"


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"type": "compaction", "encrypted_content": SEAL}, "compacted history"),
        ({"type": "item_reference", "id": "rs_1"}, "stored response"),
    ],
)
@pytest.mark.parametrize("owner", ["refuse", "try", "strip"])
def test_what_is_kept_for_one_account_does_not_move(item: dict[str, Any], what: str, owner: str) -> None:
    """A3: a compacted history is all there is of it, and a reference is nothing elsewhere."""
    of, home = begun(owner)
    exchange = opened(of, responses(item), 1)
    assert routed(of, exchange, 1).account.id == home
    answer(of, exchange, *OUT, now=1)
    refused = of.next(exchange, 1)

    assert isinstance(refused, Refusal)
    assert f"owns this conversation's {what}" in refused.message
    assert "failover.encrypted_reasoning" not in refused.message


def test_the_owner_is_removed_from_the_settings() -> None:
    """A3: an account that is gone holds no conversation."""
    of, home = begun("strip")
    of.reload(replace(of.config, accounts=tuple(one for one in of.config.accounts if one.id != home)))

    assert routed(of, opened(of, responses(sealed_item(SEAL)), 1), 1).account.id != home


def messages(**more: Any) -> Request:
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    return request(asked, "/v1/messages", x_session_id="s")


def claude(number: str) -> tuple[Head, Chunk, End]:
    said = {"id": number, "type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def test_what_belongs_to_the_old_account_does_not_travel() -> None:
    """P9: within the exchange that moves, and in later turns; at home not a byte changes."""
    of = router(account("a"), account("b"), account("c"))
    home = served(of, messages(workspace_id="wrkspc_1"), 0, *claude("msg_01abcdef0123456789abcd")).account.id
    again = messages(workspace_id="wrkspc_1", diagnostics={"previous_message_id": "msg_01abcdef0123456789abcd"})
    exchange = opened(of, again, 1)
    assert (routed(of, exchange, 1).account.id, exchange.attempts[-1].lease.body) == (home, None)
    answer(of, exchange, *bad(401, type="authentication_error"), now=1)
    moved = routed(of, exchange, 9)
    assert moved.account.id != home
    assert json.loads(moved.body or b"") == {
        "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
        "diagnostics": {"previous_message_id": None},
    }  # fmt: skip
    answer(of, exchange, *claude("msg_01zyxwvu9876543210zyxw"), now=9)
    of.close(exchange, "", 9)

    known = messages(diagnostics={"previous_message_id": "msg_01zyxwvu9876543210zyxw"})
    later = opened(of, known, 10)
    route = routed(of, later, 10)
    assert (route.account.id, route.body) == (moved.account.id, None)


def test_a_header_of_the_old_account_stays_behind() -> None:
    """P9: a workspace, chosen by a header."""
    of = router(account("a"), account("b"))
    asked = request(None, "/v1/messages", x_session_id="s", anthropic_workspace_id="wrkspc_1")
    exchange = opened(of, asked)
    first = routed(of, exchange)
    assert "anthropic-workspace-id" not in dict(first.edit.headers)
    answer(of, exchange, *bad(401, type="authentication_error"))

    assert dict(routed(of, exchange).edit.headers)["anthropic-workspace-id"] is None


def test_a_workspace_is_left_behind_by_the_conversation_that_moves_alone() -> None:
    """P9: another conversation that begins elsewhere keeps it: accounts of one organisation may share workspaces."""
    of = router(*(account(name) for name in "abcdef"))
    homes = set()
    for n in range(12):
        asked = replace(messages(workspace_id="wrkspc_1"), headers=Headers([("x-session-id", f"s{n}")]))
        for turn in range(2):
            route = served(of, asked, n, *claude(f"msg_{n}_{turn}_abcdef0123456789ab"))
            assert route.body is None
        homes.add(route.account.id)

    assert len(homes) > 1


def test_a_workspace_stays_behind_in_later_turns_too() -> None:
    """P9: after the move the client still sends it."""
    of = router(account("a"), account("b"))
    asked = messages(workspace_id="wrkspc_1")
    home = served(of, asked, 0, *claude("msg_1_abcdef0123456789abcd")).account.id
    served(of, asked, 1, *bad(401, type="authentication_error"))
    for turn in range(2, 4):
        route = served(of, asked, turn, *claude(f"msg_{turn}_abcdef0123456789abcd"))
        assert route.account.id != home
        assert "workspace_id" not in json.loads(route.body or b"")


def stream_failed(code: str) -> tuple[AnswerEvent, ...]:
    error = {"code": code, "message": "The encrypted content could not be verified."}
    failed = {"type": "response.failed", "response": {"id": "resp_9", "object": "response", "error": error}}
    return Head(200, SSE), *events(failed), End()


def test_a_stream_that_begins_with_the_refusal_is_taken_back_too() -> None:
    """A3: while the client has seen nothing of it."""
    of, home = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL), stream=True), 1)
    routed(of, exchange, 1)
    reactions = answer(of, exchange, *stream_failed("invalid_encrypted_content"), now=1)
    assert "next" in reactions
    route = routed(of, exchange, 1)

    assert route.account.id == home
    assert b"encrypted_content" not in (route.body or b"encrypted_content")


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/messages",
         {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [
             {"type": "thinking", "thinking": "hm", "signature": SEAL}, {"type": "text", "text": "t"}]},
             {"role": "user", "content": "?"}]},
         {"type": "invalid_request_error", "message": "messages.1: Invalid `signature` in `thinking` block"}),
        ("/v1beta/models/m:generateContent",
         {"contents": [{"role": "user", "parts": [{"text": "hi"}]},
                       {"role": "model", "parts": [{"text": "t", "thoughtSignature": SEAL}]},
                       {"role": "user", "parts": [{"text": "?"}]}]},
         {"code": 400, "message": "Thought signature is not valid"}),
        ("/v1/responses",
         {"input": [{"role": "user", "content": "hi"}, sealed_item(SEAL),
                    {"role": "user", "content": "?"}]},
         {"code": "invalid_encrypted_content", "type": "invalid_request_error"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("owner", ["refuse", "try", "strip"])
def test_every_family_says_it_in_its_own_words(path: str, body: Any, error: dict[str, Any], owner: str) -> None:
    """A3: encrypted reasoning, signed thinking and thought signatures, of an account nobody here knows."""
    of = router(failover=FailoverSettings(encrypted_reasoning=owner))  # type: ignore[arg-type]
    exchange = opened(of, request({"model": "m", **body}, path, x_session_id="s"))
    first = routed(of, exchange)
    reaction = answer(of, exchange, *bad(400, **error))[-1]
    assert (first.body, reaction) == (None, "next" if owner == "strip" else "deliver")
    if owner == "strip":
        again = routed(of, exchange)
        assert SEAL.encode() not in (again.body or SEAL.encode())
        assert again.account.id == first.account.id


def test_a_session_header_with_a_word_that_many_use_is_replaced_by_ours() -> None:
    """I1: `X-Session-ID: default` would be one session upstream for all of them; any other name stays the client's."""
    of = router(account("a"))
    ours = []
    words = ("default", "Main", "test", "undefined", "{{session}}")
    for name in (*words, "chat-17", "3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"):
        exchange = opened(of, request(x_session_id=name))
        route = of.next(exchange, 0.0)
        assert isinstance(route, Lease)
        went = dict(route.edit.headers).get("X-Session-ID")
        assert went in (None, route.session_id)
        ours.append(went is not None)

    assert ours == [True] * len(words) + [False, False]


# -- names that are stamped --------------------------------------------------------------------------------------------


def test_a_session_of_a_slot_is_the_client_s_and_the_model_s_and_no_conversation_s() -> None:
    of = router(account("a"))
    exchange = opened(of, request(x_session_id="s"))
    lease = routed(of, exchange)

    def session(**more: Any) -> str:
        return of.editor.edit(exchange, replace(lease, **more), 0.0)[0].session_id

    assert session() == lease.session_id != session(slot=1)
    assert session(slot=1) == session(slot=1) != session(slot=2)
    assert session(slot=1, lane="m") != session(slot=1, lane="n")


def test_a_conversation_that_was_unsealed_stays_with_that_account() -> None:
    of = router(account("a"), account("b"))
    exchange = opened(of, responses(sealed_item(SEAL)))
    first = routed(of, exchange)
    answer(of, exchange, *UNREADABLE)

    assert exchange.identity.owner == frozenset({first.account.id})
    assert exchange.unsealed == exchange.may_retry == {first.account.id}


def test_a_message_shares_the_headers_of_its_socket() -> None:
    of = router(account("a"))
    exchange = opened(of, request(x_session_id="s"))
    lease = routed(of, exchange)
    exchange.socket_lease = replace(
        lease, edit=replace(lease.edit, headers=(("X-Request-ID", "of-the-socket"), ("Gone", None)))
    )

    edited = dict(of.editor.edit(exchange, lease, 0.0)[0].edit.headers)

    assert "X-Request-ID" not in edited  # it went up with the upgrade
    exchange.socket_lease = replace(lease, edit=replace(lease.edit, headers=(("X-Request-ID", None),)))
    assert "X-Request-ID" in dict(of.editor.edit(exchange, lease, 0.0)[0].edit.headers)  # it was taken off there


def test_a_model_without_an_id_is_said_once() -> None:
    said: list[tuple[str, str]] = []
    preset = next(each for each in PRESETS.values() if each.stamp.uses("model_id"))
    of = router(account("a", preset.name))
    of.editor.unnamed = lambda provider, model: said.append((provider, model))

    for name in ("gpt-5", "gpt-5", "gpt-6"):
        routed(of, opened(of, request({"model": name, "messages": []})))

    assert said == [(preset.name, "gpt-5"), (preset.name, "gpt-6")]


# -- the edits of one attempt ------------------------------------------------------------------------------------------


def edited(of: Router, asked: Request, **more: Any) -> Lease:
    return routed(of, replace_all(opened(of, asked), **more))


def replace_all(exchange: Exchange, **more: Any) -> Exchange:
    for name, value in more.items():
        setattr(exchange, name, value)
    return exchange


def test_headers_of_the_account_go_up_beside_the_stamps() -> None:
    lease = edited(router(account("a", headers={"X-Team": "blue"})), request(x_session_id="s"))
    names = [name for name, _ in lease.edit.headers]

    assert names[0] == "X-Team"
    assert {"X-Request-ID", "X-Patchbay-Request-Id"} <= set(names)
    assert dict(lease.edit.headers)["X-Request-ID"] == lease.request_id


def test_in_shadow_nothing_is_stamped_and_nothing_left_out() -> None:
    said: list[tuple[str, str]] = []
    preset = next(each for each in PRESETS.values() if each.stamp.uses("model_id"))
    provider = replace(preset, families=frozenset({"anthropic"}))
    of = router(*(replace(account(name), provider=provider) for name in "ab"), mode="shadow")
    of.editor.unnamed = lambda provider, model: said.append((provider, model))
    asked = messages(workspace_id="wrkspc_1")
    exchange = opened(of, asked)
    lease = routed(of, exchange)
    assert (lease.edit.headers, lease.edit.body, lease.body, said) == ((), {}, None, [])
    answer(of, exchange, *bad(401, type="authentication_error"))
    lease = routed(of, exchange)

    assert (lease.edit.headers, lease.body, exchange.attempts[1].stripped) == ((), None, False)
    assert lease.request_id and lease.session_id
    sealed = replace_all(opened(of, replace(asked, body=responses(sealed_item(SEAL)).body)), unsealed={"a", "b"})
    assert routed(of, sealed).body is None


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"model": "m", "messages": []}), ("/v1/messages", {"model": "m", "messages": []})],
)
def test_members_that_a_provider_wants_are_stamped_in_the_body(path: str, body: dict[str, Any]) -> None:
    plain = account("a", models=Models(upstream_names={"m": "theirs"}))
    stamp = replace(plain.provider.stamp, body={"trace": "{request_id}", "guid": "{request_guid}", "t": "{thread_id}"})
    of = router(replace(plain, provider=replace(plain.provider, stamp=stamp)))
    lease = edited(of, request(body, path, x_session_id="s"))
    sent = json.loads(lease.body or b"")

    assert lease.edit.body == {key: value for key, value in sent.items() if key != "messages"}
    assert (sent["model"], sent["trace"]) == ("theirs", lease.request_id)
    assert of.is_own_id(sent["guid"]) and len(sent["guid"]) == 36
    assert len(sent["t"]) > 16 and sent["t"] != lease.session_id
    other = json.loads(edited(of, request(body, path, x_session_id="t")).body or b"")
    assert other["t"] != sent["t"]


def test_a_request_of_no_conversation_has_no_session() -> None:
    of = router(account("a"))
    assert edited(of, request({"model": "m", "input": "x"}, "/v1/embeddings")).session_id == ""
    assert edited(of, request(x_session_id="s")).session_id != ""


def test_a_replay_has_the_session_that_it_had_at_its_account() -> None:
    of = router(account("a"))

    def session(before: PriorServing | None, **more: Any) -> str:
        exchange = replace_all(opened(of, request(x_session_id="s")), prior_serving=before)
        return of.editor.edit(exchange, replace(plain, **more), 0.0)[0].session_id

    plain = edited(of, request(x_session_id="s"))
    assert session(None) == plain.session_id
    assert session(PriorServing("a", session_id="of then")) == "of then"
    assert session(PriorServing("a")) == plain.session_id
    assert session(PriorServing("b", session_id="of then")) == plain.session_id
    assert session(PriorServing("a", session_id="of then"), slot=1) not in ("of then", plain.session_id)


def test_two_clients_share_no_session_of_a_slot() -> None:
    of = router(account("a"))
    lease = replace(edited(of, request(x_session_id="s")), slot=1)
    ours = opened(of, request(x_session_id="s"))
    theirs = opened(of, replace(request(x_session_id="s"), client=Client(scope=b"x")))

    assert of.editor.edit(ours, lease, 0.0)[0].session_id != of.editor.edit(theirs, lease, 0.0)[0].session_id


def test_the_client_s_session_header_is_ours_where_sessions_are_handed_out() -> None:
    of = router(account("a"))
    exchange = opened(of, request(x_session_id="3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"))
    lease = routed(of, exchange)
    handed_out = of.editor.edit(exchange, replace(lease, slot=0), 0.0)[0]

    own = Headers([*exchange.request.headers, ("x-request-id", "mine")])
    asked = replace_all(exchange, request=replace(exchange.request, headers=own))
    assert "X-Request-ID" not in dict(of.editor.edit(asked, replace(lease, slot=0), 0.0)[0].edit.headers)
    assert "X-Session-ID" not in dict(lease.edit.headers)
    twice = Headers([*exchange.request.headers, ("x-session-id", "default")])
    assert "X-Session-ID" in dict(edited(of, replace(exchange.request, headers=twice)).edit.headers)
    assert dict(handed_out.edit.headers)["X-Session-ID"] == handed_out.session_id


def test_the_id_of_a_model_is_that_of_the_settings() -> None:
    said: list[tuple[str, str]] = []
    preset = next(each for each in PRESETS.values() if each.stamp.uses("model_id"))
    made = account("a", preset.name)
    of = router(replace(made, provider=replace(made.provider, model_ids={"gpt-5": "id-5", "gpt-6(high)": "id-6"})))
    of.editor.unnamed = lambda provider, model: said.append((provider, model))

    def model_id(model: str) -> str | None:
        return dict(edited(of, request({"model": model, "messages": []})).edit.headers).get("model_id")

    assert (model_id("gpt-5"), model_id("gpt-5(high)"), model_id("gpt-6(high)")) == ("id-5", "id-5", "id-6")
    assert said == []
    assert (model_id("gpt-7"), model_id("gpt-7(low)"), model_id("")) == (None, None, None)
    assert said == [(preset.name, "gpt-7")]
    assert model_id("x" * 300) is None and said[-1] == (preset.name, "x" * 256)
    plain = router(account("a"))
    plain.editor.unnamed = lambda provider, model: said.append((provider, model))
    edited(plain, request({"model": "gpt-8", "messages": []}))
    assert len(said) == 2  # no header of this provider has it


@pytest.mark.parametrize("kept", [1000, 1001])
def test_models_without_an_id_are_remembered_up_to_a_bound(kept: int) -> None:
    said: list[tuple[str, str]] = []
    preset = next(each for each in PRESETS.values() if each.stamp.uses("model_id"))
    of = router(account("a", preset.name))
    lease = edited(of, request({"model": "m0", "messages": []}))
    of.editor.unnamed = lambda provider, model: said.append((provider, model))
    for number in range(1, kept):
        of.editor._model_id(replace(lease, model=f"m{number}"))
    of.editor._model_id(replace(lease, model="m0"))

    assert (said[-1] == (preset.name, "m0")) == (kept == 1001)


# -- when what others sealed is left out -------------------------------------------------------------------------------

THINKS = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`"


@pytest.mark.parametrize(
    ("change", "unseals"),
    [
        ({}, True),
        ({"mode": "shadow"}, False),
        ({"failover": FailoverSettings(encrypted_reasoning="try")}, False),
        ({"socket": True}, False),
        ({"body": {"background": True}}, False),
        ({"unsealed": {"a"}}, False),
        ({"unsealed": {"b"}}, True),
        ({"complaint": "another error"}, False),
        ({"complaint": THINKS}, False),  # the conversation was unsealed nowhere
        ({"items": ()}, False),
    ],
)
def test_when_a_request_is_made_again_without_what_others_sealed(change: dict[str, Any], unseals: bool) -> None:
    settings = {name: change[name] for name in ("mode", "failover") if name in change}
    of = router(account("a"), **settings)
    exchange = opened(of, responses(*change.get("items", (sealed_item(SEAL),)), **change.get("body", {})))
    lease = routed(of, exchange)
    attempt = exchange.attempts[0]
    attempt.complaint = change.get("complaint", "invalid_encrypted_content x")
    exchange.unsealed |= change.get("unsealed", set())
    exchange.socket_lease = lease if "socket" in change else None

    assert of.editor.unseals(exchange, attempt) is unseals
    assert ("a" in exchange.may_retry) is unseals


def test_thinking_that_is_missed_counts_where_the_conversation_was_unsealed() -> None:
    of = router(account("a"), account("b"))

    def again(client: bytes = b"", session: str = "s", complaint: str = THINKS) -> bool:
        asked = replace(responses(sealed_item(SEAL)), client=Client(scope=client, may_pin=True))
        exchange = opened(of, replace(asked, headers=Headers([("x-session-id", session)])))
        routed(of, exchange)
        exchange.attempts[0].complaint = complaint
        return of.editor.unseals(exchange, exchange.attempts[0])

    assert not again()
    served(of, responses(sealed_item(SEAL)), 0, *UNREADABLE)
    assert (again(b"another client"), again(session="another"), again()) == (False, False, True)
    assert not again(complaint="another error")


def test_what_is_remembered_of_unsealed_conversations_is_bounded_and_has_a_name() -> None:
    of = router(account("a"), sessions=SessionSettings(limit=3))
    for number in range(5):
        asked = replace(responses(sealed_item(SEAL)), headers=Headers([("x-session-id", f"s{number}")]))
        served(of, asked, 0, *UNREADABLE)
    assert len(of.editor._unsealed) == 3
    of.reload(replace(of.config, sessions=SessionSettings(limit=2)))
    exchange = opened(of, responses(sealed_item(SEAL)))
    routed(of, exchange)
    exchange.identity = replace(exchange.identity, affinity="")
    exchange.attempts[0].complaint = "invalid_encrypted_content"
    assert of.editor.unseals(exchange, exchange.attempts[0])

    assert all(affinity for _, affinity, _ in of.editor._unsealed)
    assert of.editor._unsealed.limit == 2


def test_an_unsealed_request_keeps_what_the_account_itself_sealed() -> None:
    of = router(account("a"))
    served(of, responses(), 0, *reasoned(SEAL))
    exchange = opened(of, responses(sealed_item(SEAL), sealed_item("gAAAAABtheirs9876543210zyxwvu")))
    lease = routed(of, exchange)
    exchange.unsealed.add("a")

    def sent(body: bytes | None) -> list[Any]:
        return [each.get("encrypted_content") for each in json.loads(body or b"{}").get("input", ())]

    assert sent(of.editor.edit(exchange, lease, 0.0)[0].body) == [None, SEAL]
    own = replace_all(opened(of, responses(sealed_item(SEAL))), unsealed={"a"})
    assert sent(of.editor.edit(own, lease, 0.0)[0].body) == [None]  # it was refused even so
    empty = replace_all(opened(of, replace(responses(), body=Body(b""))), unsealed={"a"})
    assert of.editor.edit(empty, lease, 0.0)[0].body is None


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"binding": "new"}, False),
        ({"binding": "hit"}, False),
        ({"binding": "reselected"}, True),
        ({"binding": "new", "home": "b"}, True),
        ({"binding": "new", "home": "a"}, False),
        ({"binding": "hit", "home": "b"}, False),
        ({"binding": "new", "tried": "b"}, True),
        ({"binding": "new", "tried": "a"}, False),
    ],
)
def test_what_has_no_known_owner_is_left_out_where_the_conversation_has_moved(
    change: dict[str, str], left_out: bool
) -> None:
    of = router(account("a"), account("b"))
    exchange = opened(of, replace(messages(workspace_id="wrkspc_1"), headers=request(x_patchbay_account="a").headers))
    lease = routed(of, exchange)
    exchange.attempts = []
    exchange.identity = replace(exchange.identity, home=change.get("home", ""))
    if tried := change.get("tried"):
        other = opened(of, request(x_patchbay_account=tried))
        routed(of, other)
        exchange.attempts = other.attempts
    found, _, stripped = of.editor.edit(exchange, replace(lease, binding=change["binding"]), 0.0)

    assert stripped is left_out
    assert (b"workspace_id" in (found.body or b"workspace_id")) is not left_out


# -- what asks the provider to compare a turn with the one before, and what an upstream refuses ------------------------

FIRST_ID = "msg_01abcdef0123456789abcd"


def attesting(name: str, preset: str = "generic", **more: Any) -> Account:
    made = account(name, preset, **more)
    return replace(made, provider=replace(made.provider, attest=True))


def asks(lease: Lease) -> dict[str, Any]:
    """Return the members of ours that ask for a comparison."""
    return {name: value for name, value in lease.edit.body.items() if name.startswith(("diagnostics", "prompt_cache"))}


def response(number: str) -> tuple[Head, Chunk, End]:
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    said = {"id": number, "object": "response", "status": "completed", "output": [message]}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def test_a_turn_names_the_answer_before_and_a_first_one_none() -> None:
    of = router(attesting("a"))
    told = of.memory.sent

    assert asks(served(of, messages(), 0, *claude(FIRST_ID))) == {"diagnostics": {"previous_message_id": None}}
    assert told.last("a", opened(of, messages(), 1).identity.thread) == FIRST_ID
    exchange = opened(of, messages(), 1)
    lease, stamps, _ = of.editor.edit(exchange, routed(of, exchange, 1), 1.0)
    assert asks(lease) == {"diagnostics": {"previous_message_id": FIRST_ID}}
    assert stamps.compared == FIRST_ID
    other = replace(messages(), headers=Headers([("x-session-id", "another")]))
    assert asks(edited(of, other)) == {"diagnostics": {"previous_message_id": None}}


def test_openai_is_asked_from_the_second_turn_on() -> None:
    of = router(attesting("a"))

    assert asks(served(of, responses(), 0, *response("resp_1"))) == {}
    again = asks(edited(of, responses()))
    assert again == {"prompt_cache_options.comparison_response_id": "resp_1"}


@pytest.mark.parametrize(
    "asked",
    [
        messages(diagnostics={"previous_message_id": "msg_of_the_client_00000000"}),
        messages(diagnostics={"previous_message_id": None}),
        messages(diagnostics={"previous_message_id": ""}),
        messages(diagnostics={}),
        messages(diagnostics=None),
        messages(diagnostics="text"),
        replace(messages(), body=Body(b"no JSON")),
        replace(messages(), body=Body(b"[]")),
        request({"model": "m", "messages": []}, "/v1/messages/count_tokens", x_session_id="s"),
        request({"model": "m", "input": []}, "/v1/responses/compact", x_session_id="s"),
        request({"model": "m", "messages": []}, "/v1/chat/completions", x_session_id="s"),
    ],
)
def test_what_asks_itself_or_cannot_be_asked_is_left_alone(asked: Request) -> None:
    of = router(attesting("a"))
    served(of, messages(), 0, *claude(FIRST_ID))
    exchange = opened(of, asked, 1)
    lease, stamps, _ = of.editor.edit(exchange, routed(of, exchange, 1), 1.0)

    assert (asks(lease), lease.body, stamps.compared) == ({}, None, None)


def chat(suffix: str = "/chat/completions", **members: Any) -> Request:
    return request({"model": "m", "messages": []} | members, f"/v1{suffix}", x_session_id="s")


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_obfuscation": False}}, {"stream_options": None}])
@pytest.mark.parametrize("suffix", ["/chat/completions", "/completions"])
def test_the_count_of_a_streamed_chat_is_asked_for(suffix: str, options: dict[str, Any]) -> None:
    lease = edited(router(attesting("a")), chat(suffix, stream=True, **options))

    assert lease.edit.body == {"stream_options.include_usage": True}
    assert json.loads(lease.body or b"")["stream_options"] == (options.get("stream_options") or {}) | {
        "include_usage": True
    }


@pytest.mark.parametrize(
    "asked",
    [
        chat(),
        chat(stream=False),
        chat(stream="true"),
        chat(stream=True, stream_options={"include_usage": True}),
        chat(stream=True, stream_options={"include_usage": False}),
        chat(stream=True, stream_options=[]),
        chat("/embeddings", stream=True),
        messages(stream=True, diagnostics={}),
    ],
    ids=range(8),
)
def test_the_count_is_not_asked_for_where_it_comes_or_the_client_says_so(asked: Request) -> None:
    assert edited(router(attesting("a")), asked).edit.body == {}


@pytest.mark.parametrize("of", [router(account("a")), router(attesting("a"), mode="shadow")])
def test_no_count_is_asked_for_without_attest_or_in_shadow(of: Router) -> None:
    assert edited(of, chat(stream=True)).edit.body == {}


@pytest.mark.parametrize("of", [router(account("a")), router(attesting("a"), mode="shadow")])
def test_nothing_is_asked_without_attest_or_in_shadow(of: Router) -> None:
    exchange = opened(of, messages())
    lease, stamps, _ = of.editor.edit(exchange, routed(of, exchange), 0.0)

    assert (lease.edit.body, stamps.compared) == ({}, None)


def test_a_request_of_no_conversation_asks_as_a_first_turn() -> None:
    of = router(attesting("a"))
    served(of, messages(), 0, *claude(FIRST_ID))
    exchange = opened(of, messages(), 1)
    exchange.identity = replace(exchange.identity, thread="")

    assert asks(routed(of, exchange, 1)) == {"diagnostics": {"previous_message_id": None}}


def test_another_account_is_not_asked_about_the_answer_of_the_former_one() -> None:
    """In the exchange that moves, and in the turns after it; each account hears of its own answers alone."""
    of = router(attesting("a"), attesting("b"))
    home = served(of, messages(), 0, *claude(FIRST_ID)).account.id
    exchange = opened(of, messages(), 1)
    assert asks(routed(of, exchange, 1)) == {"diagnostics": {"previous_message_id": FIRST_ID}}
    answer(of, exchange, *bad(401, type="authentication_error"), now=1)
    moved = routed(of, exchange, 1)
    assert moved.account.id != home
    assert asks(moved) == {"diagnostics": {"previous_message_id": None}}
    assert FIRST_ID.encode() not in (moved.body or b"")
    answer(of, exchange, *claude("msg_01zyxwvu9876543210zyxw"), now=1)
    of.close(exchange, "", 1)

    later = edited(of, messages())
    assert (later.account.id, asks(later)) == (
        moved.account.id, {"diagnostics": {"previous_message_id": "msg_01zyxwvu9876543210zyxw"}},
    )  # fmt: skip


REFUSED = bad(400, message="diagnostics: Extra inputs are not permitted", type="invalid_request_error")


def refused(asked: Request, complaint: str = "DIAGNOSTICS: Extra inputs") -> tuple[Router, Exchange, list[Any]]:
    """Return a router whose one attempt of *asked* was refused with *complaint*, and what is told of it."""
    of, said = router(attesting("a")), list[Any]()
    of.editor.unstamped = lambda provider, member: said.append((provider, member))
    exchange = opened(of, asked)
    routed(of, exchange)
    exchange.attempts[0].complaint = complaint
    return of, exchange, said


def test_an_upstream_that_refuses_our_member_is_asked_again_without_it_and_no_more() -> None:
    of, exchange, said = refused(messages())

    assert of.editor.unstamps(exchange, exchange.attempts[0])
    assert (exchange.unstamped, exchange.may_retry) == ({"diagnostics"}, {"a"})
    assert said == [("generic", "diagnostics")]
    assert not of.editor.unstamps(exchange, exchange.attempts[0])  # once
    assert said == [("generic", "diagnostics")]
    exchange_after = opened(of, messages())
    assert asks(routed(of, exchange_after)) == {}
    exchange_after.attempts[0].complaint = "diagnostics"
    assert not of.editor.unstamps(exchange_after, exchange_after.attempts[0])  # nothing of ours was there


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, "max_tokens: Field required"),
        ({"socket_lease": True}, "diagnostics"),
        ({"unstamped": frozenset({"metadata"})}, "diagnostics"),
    ],
)
def test_when_a_request_is_not_made_again_without_our_members(change: dict[str, Any], complaint: str) -> None:
    of, exchange, said = refused(messages(), complaint)
    if "socket_lease" in change:
        change = {"socket_lease": exchange.attempts[0].lease}
    replace_all(exchange, **change)

    assert not of.editor.unstamps(exchange, exchange.attempts[0])
    assert (exchange.may_retry, exchange.unstamped) == (set(), change.get("unstamped", frozenset()))
    assert bool(said) is ("diagnostics" in complaint)  # the upstream is known by it all the same


def test_a_request_that_must_not_be_repeated_is_not_made_again_without_our_members() -> None:
    of, exchange, _ = refused(responses(background=True), "prompt_cache_options")
    attempt = exchange.attempts[0]
    attempt.lease = replace(
        attempt.lease, edit=replace(attempt.lease.edit, body={"prompt_cache_options.comparison_response_id": "resp_1"})
    )

    assert not exchange.repeatable
    assert not of.editor.unstamps(exchange, attempt)


def test_where_the_client_sent_such_a_member_itself_the_upstream_is_asked_again_later() -> None:
    of = router(attesting("a"))
    told: list[Any] = []
    of.editor.unstamped = lambda provider, member: told.append(member)
    served(of, responses(), 0, *response("resp_1"))
    own = responses(prompt_cache_options={"mode": "explicit"})
    exchange = opened(of, own, 1)
    assert asks(routed(of, exchange, 1)) == {"prompt_cache_options.comparison_response_id": "resp_1"}
    exchange.attempts[0].complaint = "prompt_cache_options"

    assert of.editor.unstamps(exchange, exchange.attempts[0])
    assert exchange.unstamped == {"prompt_cache_options"}
    assert told == []
    assert asks(edited(of, own)) == {"prompt_cache_options.comparison_response_id": "resp_1"}


def test_codex_own_backend_is_not_asked() -> None:
    of = router(attesting("a", base_path="/backend-api/codex/x"))
    served(of, messages(), 0, *claude(FIRST_ID))

    assert asks(edited(of, messages())) == {}


def test_a_client_that_names_an_answer_in_the_first_turn_that_we_know_is_compared_with_that() -> None:
    of = router(attesting("a"))
    exchange = opened(of, messages(diagnostics={"previous_message_id": "msg_of_the_client_00000000"}))
    lease, stamps, _ = of.editor.edit(exchange, routed(of, exchange), 0.0)

    assert (asks(lease), stamps.compared) == ({}, None)  # None: as the request says


def test_an_account_whose_provider_is_not_asked_gets_the_request_as_the_client_sent_it() -> None:
    of = router(attesting("a"), account("b"))
    exchange = opened(of, replace(messages(), headers=Headers([("x-session-id", "s"), ("x-patchbay-account", "a")])))
    assert asks(routed(of, exchange)) == {"diagnostics": {"previous_message_id": None}}
    other = opened(of, replace(messages(), headers=Headers([("x-session-id", "s"), ("x-patchbay-account", "b")])))
    other.attempts = exchange.attempts
    lease, stamps, _ = of.editor.edit(exchange, routed(of, other), 0.0)

    assert (lease.account.id, asks(lease), lease.body, stamps.compared) == ("b", {}, None, None)
