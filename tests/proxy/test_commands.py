"""The commands, asked as mitmproxy's command bar and the control socket ask them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mitmproxy.types
import msgspec
import pytest
from mitmproxy import ctx
from mitmproxy.exceptions import CommandError
from mitmproxy.http import HTTPFlow

from patchbay.accounts.bindings import Binding, Key
from patchbay.accounts.outcome import Outcome
from patchbay.proxy import control_socket, control_tables
from patchbay.proxy.commands import PatchbayCommands
from patchbay.proxy.control_socket import ControlFailed
from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.persistence import Persistence
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Headers

from .addon import (
    ACCOUNTS,
    CLIENT_KEY,
    answer,
    ask,
    driver,
    flow,
    in_loop,
    patchbay,
    patchbay_of_a_fixture,
    service,
)


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[Patchbay]:
    with patchbay_of_a_fixture(tmp_path) as made:
        yield made


def commands(addon: Patchbay) -> PatchbayCommands:
    return next(each for each in addon.addons if isinstance(each, PatchbayCommands))


async def exchanged(addon: Patchbay, sent: object = None, **headers: str) -> HTTPFlow:
    """Let an exchange pass, in which the upstream tells its tokens."""
    asked = await ask(addon, flow(body=sent, **headers))
    exchange, router = driver(asked).exchange, service(addon).router
    assert exchange
    usage = b'{"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}'
    said = b'[{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]'
    body = b'{"id": "chatcmpl-x", "model": "m", "choices": %s, "usage": %s}' % (said, usage)
    for event in (Head(200, Headers((("content-type", "application/json"),))), Chunk(body), End()):
        router.answered(exchange, event, time.time())
    answer(asked, body)
    addon.responseheaders(asked)
    await addon.response(asked)
    return asked


@in_loop
async def test_habits_are_listed_and_forgotten(addon: Patchbay) -> None:
    asks = commands(addon)
    assert asks.habits() == []
    assert asks.reset_habits("api.example.com") == "nothing is known of api.example.com"

    router = service(addon).router
    asked = await ask(addon, flow())
    exchange = driver(asked).exchange
    assert exchange
    for event in (
        Head(200, Headers((("content-type", "application/json"),))),
        Chunk(b'{"id": "x", "model": "m"}'),
        End(),
    ):
        router.answered(exchange, event, 1.0)
    router.close(exchange, "", 2.0, status=200)
    lines = asks.habits()
    assert lines == ["http://127.0.0.1:9 strange-id openai_chat /chat/completions: kept 0, broken 1"]
    assert asks.reset_habits(lines[0].split()[0]) == f"{len(lines)} rules of {lines[0].split()[0]} are forgotten"
    assert asks.habits() == [lines[0].replace("broken 1", "broken 0")]


def bar(addon: Patchbay, typed: str) -> Any:
    """Return what mitmproxy's command bar gives for *typed*."""
    return ctx.master.commands.execute(typed)


@in_loop
async def test_the_status_counts_every_exchange(addon: Patchbay) -> None:
    await exchanged(addon, x_session_id="s")
    await exchanged(addon, x_session_id="t")
    found: Any = await commands(addon).run("status", ())

    totals = found.totals
    assert (found.pid, found.mode, totals.exchanges, totals.failed, totals.moved) == (os.getpid(), "serve", 2, 0, 0)
    assert (totals.tokens.input, totals.tokens.cached, totals.tokens.output) == (18, 8, 4)
    assert sum(totals.accounts.values()) == sum(totals.verdicts.values()) == 2
    assert "tokens    18 in (44% cached) 4 out" in bar(addon, "patchbay.status")


@in_loop
async def test_a_command_that_is_not_there_or_is_called_otherwise_is_refused(addon: Patchbay) -> None:
    with pytest.raises(ControlFailed, match=r"no command nothing; there are: .*status"):
        await commands(addon).run("nothing", ())
    with pytest.raises(ControlFailed, match="wake: missing a required argument"):
        await commands(addon).run("wake", ())
    with pytest.raises(ControlFailed, match="no command curl"):  # it would hold what the user has written
        await commands(addon).run("curl", ())


@in_loop
async def test_an_account_is_paused_and_woken(addon: Patchbay) -> None:
    health = service(addon).router.accounts.health
    assert " paused by a command; `patchbay.wake one` ends this" in bar(addon, "patchbay.cool one 90")
    assert not health.available("one", "m", time.time() + 88) and health.available("one", "m", time.time() + 91)

    one, two = await commands(addon).run("accounts", ())
    assert (one.state, one.reason, round(one.until - time.time(), -1)) == ("paused", "paused by a command", 90)
    assert (two.state, two.reason, two.until) == ("healthy", "", None)
    asked = await exchanged(addon, x_session_id="s")
    assert driver(asked).lease.account.id == "two"

    assert bar(addon, "patchbay.wake one") == "account one may be used again"
    assert health.available("one", "m", time.time())
    title, first, _ = bar(addon, "patchbay.accounts")
    assert (title.split()[0], first.split()) == ("ACCOUNT", ["one", "ready", "0", "0", "0", "0"])


@in_loop
async def test_every_cause_of_a_rest_is_told_with_its_models(addon: Patchbay) -> None:
    router, now = service(addon).router, time.time()
    for model, until in (("n", now + 300), ("m", now + 300), ("o", now + 40)):
        router.accounts.health.record_outcome("one", model, Outcome("rate", until, certain=True), now)
    router.state.pause("one", now + 90, now)
    router.accounts.health.record_outcome("one", "p", Outcome("auth", scope="account"), now)
    one, _ = await commands(addon).run("accounts", ())
    assert (one.state, one.reason) == ("auth-failed", "key refused; rate limited for n, m, o; paused by a command")


@in_loop
async def test_a_refused_exchange_is_explained_by_its_message(addon: Patchbay) -> None:
    for name in ("one", "two"):
        bar(addon, f"patchbay.disable {name}")
        bar(addon, f"patchbay.enable {name}")
        bar(addon, f"patchbay.cool {name} 100")
    asked = await ask(addon, flow(x_session_id="s"))
    assert asked.response and asked.response.status_code == 503
    await addon.response(asked)
    told = await commands(addon).run("explain", (bar(addon, "patchbay.sessions.options")[0],))
    assert "one: paused by a command until" in dict(told.rows)["refused"]


@in_loop
@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x", "1e9"])
async def test_a_pause_has_a_length_that_can_be(addon: Patchbay, seconds: str) -> None:
    with pytest.raises(CommandError, match="no length such as 90s, 10m or 2h"):
        bar(addon, f"patchbay.cool one {seconds}")


@in_loop
async def test_a_disabled_account_is_used_by_no_session_until_it_is_enabled(
    addon: Patchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = driver(await exchanged(addon, x_session_id="s")).lease.account.id
    assert "is disabled, until this proxy ends; " in bar(addon, f"patchbay.disable {before}"), "there is no store"
    monkeypatch.setattr(Persistence, "keeps", True)
    assert "is disabled, also after a restart; " in str(await commands(addon).run("disable", (before,)))
    assert "has no cooldown any more, and is disabled" in bar(addon, f"patchbay.wake {before}")
    after = driver(await exchanged(addon, x_session_id="s")).lease.account.id
    assert after != before

    (session,) = await commands(addon).run("sessions", ())
    (move,) = session.moves
    assert (session.home, session.account, session.turns, len(session.moves)) == (after, after, 2, 1)
    assert (move.origin, move.account, move.reason) == (before, after, "disabled by a command")
    states = {each.account: (each.state, each.reason) for each in await commands(addon).run("accounts", ())}
    assert states[before] == ("disabled", "by a command")
    assert any(f"{before} → {after}: disabled by a command" in line
               for line in bar(addon, f"patchbay.sessions {session.name}"))  # fmt: skip

    assert bar(addon, f"patchbay.enable {before}") == f"account {before} is enabled"
    assert all(account.enabled for account in service(addon).router.config.accounts)


@in_loop
async def test_what_the_settings_disable_no_command_enables(tmp_path: Path) -> None:
    off = ACCOUNTS.replace("id: two,", "id: two, enabled: false,")
    with patchbay(tmp_path, off) as addon:
        assert bar(addon, "patchbay.disable two") == "account two is disabled in the settings"
        with pytest.raises(CommandError, match="set enabled: true there"):
            bar(addon, "patchbay.enable two")


@in_loop
async def test_an_unbound_session_chooses_another_account(addon: Patchbay) -> None:
    before = driver(await exchanged(addon, x_session_id="s")).lease.account.id
    (name,) = bar(addon, "patchbay.sessions.options")
    assert bar(addon, f"patchbay.unbind {name}") == (
        f"session {name} is no longer bound to {before}; its next request chooses anew"
    )
    assert bar(addon, f"patchbay.unbind {name}") == f"session {name} is bound to no account"
    assert driver(await exchanged(addon, x_session_id="s")).lease.account.id != before


@in_loop
async def test_a_name_that_is_not_there_is_refused_with_those_that_are(addon: Patchbay) -> None:
    for word in ("wake", "cool", "disable", "enable"):
        with pytest.raises(ControlFailed, match="there is no account three; there are: one, two"):
            await commands(addon).run(word, ("three",))
        with pytest.raises(CommandError):
            bar(addon, f"patchbay.{word} three")
    for word in ("unbind", "explain"):
        with pytest.raises(ControlFailed, match="there is no session ab; there are: none"):
            await commands(addon).run(word, ("ab",))


@in_loop
async def test_a_session_is_named_by_any_begin_that_is_its_own(addon: Patchbay) -> None:
    for number in range(17):  # two of them begin alike
        await exchanged(addon, x_session_id=f"session-{number}")
    found = await commands(addon).run("sessions", ())
    first = [each.session[0] for each in found]
    twice = next(each for each in first if first.count(each) > 1)
    with pytest.raises(ControlFailed, match=f"several sessions begin with {twice}"):
        await commands(addon).run("explain", (twice,))
    told = await commands(addon).run("explain", (found[0].session,))
    assert told.session == found[0].session


@in_loop
async def test_the_ids_of_an_exchange_are_explained_too(addon: Patchbay) -> None:
    asked = await exchanged(addon, x_session_id="s")
    (session,) = await commands(addon).run("sessions", ())
    of_session = await commands(addon).run("explain", (session.name,))
    for name in ("exchange", "request_id"):
        assert await commands(addon).run("explain", (asked.metadata[f"patchbay.{name}"],)) == of_session
    with pytest.raises(ControlFailed, match="`patchbay incidents ID` shows what is kept"):
        await commands(addon).run("explain", ("4d41c87ed03a55bd",))


@in_loop
async def test_what_happened_is_explained_for_a_session_and_for_a_flow(addon: Patchbay) -> None:
    asked = await exchanged(addon, x_session_id="s")
    (session,) = await commands(addon).run("sessions", ())
    told = await commands(addon).run("explain", (session.name,))
    rows = dict(told.rows)
    account = driver(asked).lease.account.id
    assert rows["account"].startswith(account) and rows["tokens"].startswith("9 in · 4 cached")
    assert told.request_id == asked.metadata["patchbay.request_id"]
    assert set(control_tables.rows(told.rows)) <= set(commands(addon).explain(asked))
    assert commands(addon).explain(flow())[0].startswith("no account was chosen")


@in_loop
async def test_a_session_that_only_the_store_knows_is_listed_with_its_home(addon: Patchbay) -> None:
    bindings, now = service(addon).router.accounts.bindings, time.time()
    key = Key("openai@http://127.0.0.1:9", b"", "ab" * 16)
    bindings.adopt(Binding(key, "one", now - 60, now + 3000), now)
    (found,) = await commands(addon).run("sessions", ("abab",))
    assert (found.name, found.home, found.turns, found.account) == ("abababab", "one", 0, "")
    with pytest.raises(ControlFailed, match="no exchange since the proxy started; its home is one"):
        await commands(addon).run("explain", ("abab",))


@in_loop
async def test_the_settings_are_read_again_by_a_command(addon: Patchbay, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("id: two,", "id: three,"))
    assert await commands(addon).run("reload", ()) == "config.yaml is applied; accounts: 2 (2 enabled)"
    assert bar(addon, "patchbay.accounts.options") == ["one", "three"]
    file.write_text("accounts: 7")
    with pytest.raises(ControlFailed, match="has mistakes, so nothing changes"):
        await commands(addon).run("reload", ())
    assert bar(addon, "patchbay.accounts.options") == ["one", "three"]
    assert "the log says" in bar(addon, "patchbay.reload")
    await asyncio.gather(*commands(addon)._tasks)


@in_loop
async def test_incidents_are_listed(addon: Patchbay, tmp_path: Path) -> None:
    assert bar(addon, "patchbay.incidents") == ["no incidents"]
    (tmp_path / "state" / "incidents").mkdir()
    text = '{"id": "pb1-x", "time": 5, "account": "one", "findings": [{"detector": "echo"}]}'
    (tmp_path / "state" / "incidents" / "1.json").write_text(text)
    (tmp_path / "state" / "incidents" / "2.json").write_text("{")
    (line,) = await commands(addon).run("incidents", ())
    assert "pb1-x  session none  one  victim unknown  echo" in line


@in_loop
async def test_names_are_completed(addon: Patchbay) -> None:
    await exchanged(addon, x_session_id="s")
    manager = ctx.master.commands

    def completed(typed: str) -> list[str]:
        _, (wanted, *_) = manager.parse_partial(typed)
        return list(mitmproxy.types.CommandTypes.get(wanted.type).completion(manager, wanted.type, ""))

    for word in ("wake", "cool", "disable", "enable"):
        assert completed(f"patchbay.{word} ") == ["one", "two"]
    assert completed("patchbay.unbind ") == bar(addon, "patchbay.sessions.options")
    assert {name for name in manager.commands if name.startswith("patchbay.")} == {
        f"patchbay.{name}" for name in (
            "status", "accounts", "accounts.options", "sessions", "sessions.options", "wake", "cool", "disable",
            "enable", "unbind", "explain", "curl", "reload", "incidents", "habits", "habits.reset",
        )
    }  # fmt: skip


@in_loop
async def test_no_answer_at_the_socket_holds_a_key_or_a_prompt(addon: Patchbay) -> None:
    secret = "the words of the user"
    body = {"model": "m", "messages": [{"role": "user", "content": secret}]}
    await exchanged(addon, body, x_session_id="s", x_note=secret)
    (session,) = await commands(addon).run("sessions", ())
    told = [msgspec.json.encode(await commands(addon).run(*asked)).decode() for asked in (
        ("status", ()), ("accounts", ()), ("sessions", ()), ("explain", (session.name,)), ("incidents", ()),
        ("cool", ("one",)), ("wake", ("one",)),
    )]  # fmt: skip
    assert not [each for each in told if secret in each or "sk-account" in each or CLIENT_KEY in each]


@in_loop
async def test_the_socket_is_there_while_the_proxy_runs(addon: Patchbay, tmp_path: Path) -> None:
    asks = commands(addon)
    asks.running()
    await asyncio.wait_for(asyncio.gather(*asks._tasks), 10)
    (found,) = control_socket.running(tmp_path / "state", {})

    told = await asyncio.to_thread(control_socket.ask, found.path, "status")
    assert (found.pid, told["pid"], told["totals"]["exchanges"]) == (os.getpid(), os.getpid(), 0)

    asks.done()
    assert not list((tmp_path / "state").glob("control*"))
