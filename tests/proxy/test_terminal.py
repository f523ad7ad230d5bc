"""The terminal as an addon: what is written where, in which form, and that showing never breaks an exchange."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons import clientplayback, dumper, eventstore, termlog
from mitmproxy.proxy import mode_servers, server
from mitmproxy.test import taddons, tflow

from patchbay.proxy import start_lines, terminal, terminal_json
from patchbay.proxy.key_cover import KeyCover
from patchbay.proxy.terminal import Terminal
from patchbay.proxy.terminal_lines import LineStyle
from patchbay.proxy.terminal_log import LogLines
from patchbay.router import Router
from patchbay.settings.settings import ClientKey
from patchbay.values.account import Secret
from patchbay.values.decision import AttemptSummary, Decision, Outcome, Refusal

from ..test_router import account, opened, request, routed, router
from .test_terminal_lines import MOVED, decision


class Shown:
    """The addon in a mitmproxy with a terminal log, and what it wrote to its file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "terminal"
        self.out = self.file.open("w", encoding="utf-8")
        self.termlog = termlog.TermLog(self.out)
        self.dumper = dumper.Dumper(self.out)
        self.known: object = "hush"
        self.searched: list[str] = []
        self.texts = KeyCover(self._scrub)
        self.terminal = Terminal(self.texts)
        self.context = taddons.context(self.termlog, self.dumper, self.terminal)
        self.options = self.context.options

    def _scrub(self, text: str) -> str:
        self.searched.append(text)
        return text.replace(str(self.known), "*****")

    def text(self) -> str:
        self.out.flush()
        return self.file.read_text(encoding="utf-8")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def end(self) -> None:
        self.terminal.done()
        self.termlog.uninstall()
        self.context.master._legacy_log_events.uninstall()
        self.out.close()


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def shown(tmp_path: Path, loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # a terminal log would be silent in the test itself

    async def made() -> Shown:
        return Shown(tmp_path)

    found = loop.run(made())
    with found.context:
        yield found
        found.end()


def test_an_exchange_a_refusal_and_the_log_are_lines_of_one_file(shown: Shown) -> None:
    shown.terminal.exchange(decision())
    logging.getLogger("patchbay.x").warning("a warning")
    shown.terminal.refused(tflow.tflow(), Refusal(405, "not_a_proxy", ""))
    first, second, third = shown.text().splitlines()
    assert first.split()[1:4] == ["claude-code", "e718a2c4", "claude-work"]
    assert second[8:] == " a warning" and second.count(":") == 2
    assert third.split()[1:5] == ["-", "GET", "/path", "405"]
    assert third.endswith(" 405 this is a base URL, not an HTTP proxy")


def test_a_line_of_the_dumper_keeps_its_place(shown: Shown) -> None:
    shown.terminal.exchange(decision())
    shown.dumper.echo("a flow")
    shown.terminal.exchange(decision())
    assert shown.text().splitlines()[1] == "a flow"


def test_lines_of_the_dumper_do_not_stand_among_json(shown: Shown) -> None:
    shown.context.configure(shown.terminal, patchbay_log_format="json")
    shown.dumper.echo("a flow")
    shown.terminal.exchange(decision())
    assert [each["event"] for each in shown.events()] == ["exchange"]
    shown.context.configure(shown.terminal, patchbay_log_format="text")
    shown.dumper.echo("a flow")
    assert shown.text().splitlines()[-1] == "a flow"


@pytest.mark.parametrize("sign", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\ud83d"])
def test_a_line_of_json_holds_nothing_that_a_terminal_would_obey(sign: str) -> None:
    for event in ({"event": "log", "message": f"a{sign}b"}, {"event": "log", "message": f"ä{sign}b"}):
        line = terminal_json.encoded(event)
        assert line.isprintable() and line.encode() and json.loads(line) == event


def test_an_upgrade_has_no_line_and_a_failed_one_has(shown: Shown) -> None:
    shown.terminal.exchange(decision(status=101))
    assert shown.text() == ""
    shown.terminal.exchange(decision(status=101, error="the client left"))
    assert shown.text().count("\n") == 1


def test_a_browser_that_asks_for_its_icon_has_no_line(shown: Shown) -> None:
    flow = tflow.tflow()
    flow.request.headers["user-agent"] = "Mozilla/5.0"
    told: list[Refusal] = []
    shown.terminal.request_refused = told.append
    shown.terminal.refused(flow, Refusal(404, "not_an_llm_path", ""))
    assert shown.text() == "" and not told
    shown.terminal.refused(flow, Refusal(403, "cross_site", ""))
    assert " browser " in shown.text() and len(told) == 1


@pytest.mark.parametrize(
    ("options", "lines"),
    [({}, 4), ({"termlog_verbosity": "debug"}, 4), ({"termlog_verbosity": "warn"}, 3), ({"patchbay_quiet": True}, 1),
     ({"termlog_verbosity": "error"}, 1), ({"patchbay_quiet": True, "termlog_verbosity": "debug"}, 1)],
)  # fmt: skip
def test_quiet_leaves_alarms_and_warn_leaves_what_needs_a_look(
    shown: Shown, options: dict[str, Any], lines: int
) -> None:
    shown.options.update(**options)
    log = logging.getLogger("patchbay.x")
    shown.terminal.exchange(decision())
    shown.terminal.exchange(decision(status=503, error="model_cooldown"))
    log.warning("a warning")
    log.critical("an alarm")
    assert len(shown.text().splitlines()) == lines and "an alarm" in shown.text()


def test_as_json_every_line_is_an_object_of_stable_names(shown: Shown) -> None:
    shown.options.update(patchbay_log_format="json")
    shown.terminal.exchange(decision(**MOVED))
    shown.terminal.refused(tflow.tflow(), Refusal(405, "not_a_proxy", ""))
    log = logging.getLogger("patchbay.x")
    log.info("nothing that needs a look")
    log.error("a\nb")
    exchange, refused, logged = shown.events()
    assert exchange | {"time": 0} == {
        "event": "exchange", "time": 0, "tool": "claude-code", "session": "e718a2c4", "account": "claude-work",
        "binding": "moved", "moved_from": "openai-a", "moved_because": "rate limited (429)", "method": "POST",
        "path": "/v1/messages", "model": "claude-opus-5", "status": 200, "error": "", "reason": "",
        "tokens": {"prompt": 19200, "completion": 127, "cached": 18900, "cache_write": 0}, "first_byte_seconds": 0.6,
        "duration_seconds": 1.9, "verdict": "unverifiable", "exchange": "x" * 16, "request_id": "pb1-x",
        "mode": "serve",
    }  # fmt: skip
    assert {*exchange} - {"event", "time", "binding", "reason"} <= {*Decision.__struct_fields__}
    assert (refused["event"], refused["error"], refused["status"]) == ("refused", "not_a_proxy", 405)
    assert logged | {"time": 0} == {"event": "log", "time": 0, "level": "error", "message": "a\nb"}


def test_a_known_key_is_covered(shown: Shown) -> None:
    shown.terminal.exchange(decision(model="hush-model"))
    shown.options.update(patchbay_log_format="json")
    shown.terminal.exchange(decision(error="hush"))
    shown.options.update(patchbay_log_format="text")
    shown.terminal.exchange(decision(**(MOVED | {"moved_because": "hush"})))
    shown.terminal.exchange(decision(attempts=[AttemptSummary("hush", "r", 429, "rate", 1.0)] * 2, error="x"))
    assert "hush" not in shown.text() and shown.text().count("*****") == 6


def test_texts_are_searched_for_keys_once_until_another_key_is_known(shown: Shown) -> None:
    for _ in range(3):
        shown.terminal.exchange(decision())
    assert len(shown.searched) == 1
    shown.known = "claude-opus"
    shown.texts.forget()
    shown.terminal.exchange(decision())
    assert " *****-5 " in shown.text().splitlines()[-1] and len(shown.searched) == 3
    shown.terminal.exchange(decision(path="x" * 999))
    shown.terminal.exchange(decision(path="x" * 999))
    assert len(shown.searched) == 5


def test_what_cannot_be_shown_is_logged_once_and_raises_nothing(shown: Shown, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        shown.terminal.exchange(None)  # type: ignore[arg-type]
        shown.terminal.exchange(decision(binding="odd"))
        shown.terminal.refused(None, Refusal(404, "", ""))  # type: ignore[arg-type]
    assert [each for each in caplog.messages if "could not be shown" in each] == [
        "patchbay: a line could not be shown: AttributeError"
    ]


def test_at_the_end_the_terminal_log_is_as_before(shown: Shown) -> None:
    before = termlog.TermLogHandler(shown.out)
    shown.terminal.running()
    shown.terminal.exchange(decision())
    shown.terminal.done()
    assert shown.termlog.logger.file is shown.dumper.outfp is shown.out
    assert type(shown.termlog.logger.formatter) is type(before.formatter)
    assert shown.text().count("\n") == 1
    logging.getLogger("patchbay.x").warning("later")
    assert shown.text().endswith("] later\n")


# -- the event log -----------------------------------------------------------------------------------------------------


def test_a_console_has_the_lines_in_its_event_log_alone(loop: asyncio.Runner) -> None:
    async def story() -> list[str]:
        terminal, events = Terminal(KeyCover(str)), eventstore.EventStore()
        events.logger._initiated_in_test = None
        with taddons.context(events, terminal) as context:
            context.master.events = events  # type: ignore[attr-defined]
            terminal.exchange(decision())
            terminal.exchange(decision(status=503, error="model_cooldown"))
            await asyncio.sleep(0)
            terminal.done()
            return [f"{entry.level} {entry.msg.partition('] ')[2]}" for entry in events.data]

    fine, failed = loop.run(story())
    assert fine.startswith("info claude-code      e718a2c4 claude-work  home ")
    assert failed.startswith("warn claude-code ")


# -- accounts ----------------------------------------------------------------------------------------------------------


def _fails(of: Router, now: float) -> None:
    lease = routed(of, opened(of, request(), now), now)
    of.accounts.record_outcome(lease, Outcome("rate", now + 600, "account", "429"), now)


def test_a_change_of_an_account_is_told_a_moment_later(shown: Shown, loop: asyncio.Runner) -> None:
    async def story() -> None:
        shown.context.master.event_loop = asyncio.get_running_loop()
        of = router()
        shown.terminal.attach(of)
        _fails(of, time.time())
        assert shown.text() == ""
        await asyncio.sleep(0.2)

    loop.run(story())
    assert " rests until " in shown.text() and shown.text().count("\n") == 1


@pytest.mark.parametrize(
    ("effect", "first"),
    [(decision(**MOVED), True), (decision(status=429, error="model_cooldown"), True), (decision(), False)],
    ids=["moved", "refused", "fine"],
)
def test_a_change_of_an_account_is_told_before_the_line_of_its_effect(
    shown: Shown, loop: asyncio.Runner, effect: Decision, first: bool
) -> None:
    async def story() -> None:
        shown.context.master.event_loop = asyncio.get_running_loop()
        of = router()
        shown.terminal.attach(of)
        _fails(of, time.time())
        shown.terminal.exchange(effect)
        shown.terminal.exchange(effect)

    loop.run(story())
    assert [" rests until " in line for line in shown.text().splitlines()] == [first, False, *[False] * first]


# -- the log -----------------------------------------------------------------------------------------------------------


def _record(level: int, message: str, **more: Any) -> logging.LogRecord:
    record = logging.LogRecord("x", level, "", 0, message, None, None)
    for name, value in more.items():
        setattr(record, name, value)
    return record


def test_a_record_is_a_line_with_its_time_its_client_and_its_traceback() -> None:
    lines = LogLines()
    assert lines.format(_record(logging.INFO, "told"))[8:] == " told"
    assert lines.format(_record(logging.INFO, "told", client=("127.0.0.1", 5)))[8:] == " [127.0.0.1:5] told"
    try:
        raise ValueError("why")
    except ValueError as e:
        failed = _record(logging.ERROR, "told", exc_info=(ValueError, e, e.__traceback__))
    assert lines.format(failed).endswith("ValueError: why")
    lines.colour = True
    assert lines.format(_record(logging.CRITICAL, "alarm")).endswith("\x1b[1;31malarm\x1b[0m")
    assert lines.format(_record(logging.INFO, "told")).endswith("\x1b[0m told")
    lines.json = True
    assert not lines.is_shown(_record(logging.INFO, "")) and lines.is_shown(_record(logging.WARNING, ""))


def test_a_message_is_broken_between_words_alone() -> None:
    lines = LogLines()
    lines.width = lambda: 30
    told = lines.format(_record(logging.WARNING, "patchbay: no account " + "x" * 40 + " of these\n  a b"))
    assert told.split("\n")[0][8:] == " patchbay: no account"
    assert told.split("\n")[1:] == [" " * 9 + "x" * 40, " " * 9 + "of these", "  a b"]
    lines.json = True
    assert "\n" not in lines.format(_record(logging.WARNING, "word " * 40))


def test_a_terminal_has_the_names_of_its_columns_above_the_first_line_and_after_a_change(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = iter([80, 80, 120, 120])
    monkeypatch.setattr(terminal, "_width", lambda _: next(widths))
    for _ in range(4):
        shown.terminal.exchange(decision())
    assert [n for n, line in enumerate(shown.text().splitlines()) if line.startswith("time ")] == [0, 3]


def test_what_mitmproxy_says_of_each_connection_is_hidden_unless_asked_for(
    shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    talkers = [logging.getLogger(module.__name__) for module in (server, mode_servers, clientplayback)]
    news = ["client connect", "client disconnect", "server connect a:1", "server disconnect a:1",
            "error establishing server connection: x", "Streaming response from x.",
            "reverse proxy to x listening at *:1.", "[replay] Streaming response from x.",
            "[replay] server connect a:1"]  # fmt: skip
    other = ["[replay] connection refused", "connection handler has crashed", "-" * 60, "client kill connection"]

    def told() -> list[str]:
        begin = len(shown.text())
        for talker in talkers:
            for text in (*news, *other):
                talker.info(text)
        return [line[9:] for line in shown.text()[begin:].splitlines()]

    shown.options.update(patchbay_quiet=False)
    assert told() == other * len(talkers)
    shown.options.update(termlog_verbosity="debug")
    assert told() == [*news, *other] * len(talkers)
    shown.options.update(termlog_verbosity="info")
    shown.terminal.done()
    assert len(told()) == len([*news, *other] * len(talkers))


# -- the start ---------------------------------------------------------------------------------------------------------


HERE = "http://127.0.0.1:8080"


def start(of: Router, *kinds: str) -> list[str]:
    style = LineStyle(clock=lambda _: "12:00:00")
    addresses = {HERE.replace("8080", str(8080 + n)): kind for n, kind in enumerate(kinds)}
    return [line.text(style).removeprefix("12:00:00 ") for line in start_lines.of(of, addresses, 0.0)]


def test_the_start_says_where_how_accounts_stand_and_what_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATCHBAY_TEST_A", raising=False)
    of = router(
        account("a", "openai"), account("b", "anthropic"), account("off", enabled=False),
        replace(account("keyless", "openai"), secret=Secret("env", "PATCHBAY_TEST_A")),
    )  # fmt: skip
    of.accounts.health.record_outcome("b", "m", Outcome("rate", 600.0, "account", "429"), 0.0)

    listens, *others = start(of, "base")

    assert listens.startswith("Patchbay ") and listens.endswith(" listens at http://127.0.0.1:8080")
    assert others == [
        "account a            ready",
        "account b            rests until 12:00:00: rate limited (429), retry-after 600 s",
        "account off          disabled in the settings",
        "account keyless      no key: env:PATCHBAY_TEST_A: is not set",
        "Claude Code: ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude",
        "Codex: PATCHBAY_KEY=any codex -c model_provider=patchbay -c 'model_providers.patchbay="
        '{name="Patchbay",base_url="http://127.0.0.1:8080/v1",wire_api="responses",env_key="PATCHBAY_KEY",'
        "supports_websockets=false}'",
        "OpenAI SDK: OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any COMMAND",
        "Anthropic SDK: ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_API_KEY=any COMMAND",
    ]


def test_behind_an_ordinary_proxy_and_with_clients_other_lines_are_pasted() -> None:
    of = router(account("a", "gemini"))
    commands = start(of, "proxy")[2:]
    assert [line.partition(":")[0] for line in commands] == ["Gemini CLI", "other tools"]
    assert "HTTPS_PROXY=http://127.0.0.1:8080 NODE_EXTRA_CA_CERTS=" in commands[0]
    of.config = replace(of.config, clients=(ClientKey("ann", Secret("literal", "x")),))
    assert "GEMINI_API_KEY=YOUR_CLIENT_KEY" in start(of, "base")[2]
    assert len(start(of, "")) == len(start(of)) == 2
    assert [line.split()[2].rpartition("=")[2] for line in start(of, "", "proxy", "base")[2:4]] == [
        "http://127.0.0.1:8082", "http://127.0.0.1:8082",
    ]  # fmt: skip


def test_behind_a_proxy_that_only_looks_a_tool_keeps_its_key() -> None:
    looking = router(account("off", enabled=False), mode="shadow")
    told, *commands = start(looking, "base")[1:]

    assert told.startswith("it only looks")
    assert "Claude Code: ANTHROPIC_BASE_URL=http://127.0.0.1:8080 claude" in commands
    assert "OpenAI SDK: OPENAI_BASE_URL=http://127.0.0.1:8080/v1 COMMAND" in commands
    assert not any("=any" in command or "KEY" in command for command in commands)
    [codex] = [command for command in commands if command.startswith("Codex: codex -c ")]
    assert "requires_openai_auth=true" in codex
    [other] = [line for line in start(looking, "proxy") if line.startswith("other tools: ")]
    assert other.endswith(' env)" && COMMAND')


def test_the_start_is_told_to_programs() -> None:
    lines = [line.json() for line in start_lines.of(router(account("a")), {HERE: "base"}, 1)]
    assert [(line["event"], line["time"]) for line in lines[:3]] == [("start", 1), ("account", 1), ("connect", 1)]
    assert lines[0]["mode"] == "serve"
    looking = next(start_lines.of(router(account("off", enabled=False), mode="shadow"), {}, 1))
    assert looking.json()["mode"] == "look"
    assert lines[1] | {} == {"event": "account", "time": 1, "account": "a", "change": "ready"}
