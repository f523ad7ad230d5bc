from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from patchbay.settings import reader, settings as settings_module, syntax
from patchbay.settings.presets import PRESETS
from patchbay.settings.reader import ConfigError, load
from patchbay.settings.settings import (
    ClientKey,
    Config,
    CrosstalkSettings,
    FailoverSettings,
    JournalSettings,
    LimitSettings,
    QueueSettings,
    SessionSettings,
)
from patchbay.settings.yaml_document import Each, Either, Named, Read, Section
from patchbay.values import account as account_module
from patchbay.values.account import (
    Account,
    CredentialHeader,
    Echo,
    ErrorRule,
    LoginFile,
    Models,
    Provider,
    Secret,
    SecretHeader,
    ServiceVariables,
    Stamp,
    Timeouts,
)
from patchbay.values.http import Origin

from .written import ONE, account, key, mistakes, wrong_account

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def names(read: Read, section: str = "top_level") -> Iterator[tuple[str, str]]:
    """Yield every setting that *read* and what is below it accept, with the section in which it stands."""
    match read:
        case Section(keys=keys):
            section = "keys" if read is syntax.COMMAND else section
            for name, inner in keys.items():
                yield section, name
                yield from names(inner, name)
        case Each(inner=inner) | Named(inner=inner) | Either(long=inner):
            yield from names(inner, section)


def written(value: object, read: Read, section: str = "top_level") -> Iterator[tuple[str, str]]:
    """Yield the settings that *value*, a document that is read by *read*, writes; as `names` names them."""
    match read, value:
        case Section(keys=keys), dict():
            section = "keys" if read is syntax.COMMAND else section
            for name, inner in value.items():
                yield section, name
                yield from written(inner, keys[name], name)
        case Either(long=inner), dict():
            yield from written(value, inner, section)
        case Each(inner=inner), list():
            for one in value:
                yield from written(one, inner, section)
        case Named(inner=inner), dict():
            for one in value.values():
                yield from written(one, inner, section)


ACCEPTED = frozenset(names(reader.SETTINGS))


# -- the whole --------------------------------------------------------------------------------------------------------


def test_what_is_not_said_is_the_default() -> None:
    found = load(ONE, "c")

    assert found == Config(accounts=found.accounts)
    (one,) = found.accounts
    assert one == Account("a", PRESETS["generic"], Secret("literal", "example-key"), place="c:1:12")


def test_every_section_is_read() -> None:
    found = load(
        ONE + "state: /s\nstrategy: least_busy\nother_traffic: pass\n"
        "sessions: {order: [generic_header, own], ttl: 90s, limit: 5, subagents: isolate, on_error: clear}\n"
        "failover: {attempts: 2, timeout: 500ms}\n"
        "journal: {path: j, max_bytes: 1KiB, keep: 0}\n"
        "limits: {body: 1MB, keep_streamed: 1}\n"
        "clients: [{name: x, key: env:X, may_pin: true}, {name: y, key: env:Y}]\n",
        "c",
    )

    assert (found.state, found.strategy, found.other_traffic) == ("/s", "least_busy", "pass")
    assert found.sessions == SessionSettings(("generic_header", "own"), 90.0, 5, "isolate", "clear")
    assert found.failover == FailoverSettings(2, 0.5)
    assert found.journal == JournalSettings("j", 1024, 0)
    assert found.limits == LimitSettings(1_000_000, 1)
    assert found.clients == (
        ClientKey("x", Secret("env", "X"), True),
        ClientKey("y", Secret("env", "Y"), False),
    )


def test_signals_of_the_user_are_read() -> None:
    found = load(ONE + "sessions: {headers: [X-Acme-Chat, chat-no], body: [chat.id, a.b.c]}\n", "c").sessions

    assert (found.headers, found.body) == (("x-acme-chat", "chat-no"), ("chat.id", "a.b.c"))


def test_what_cannot_be_a_signal_is_told_with_its_place() -> None:
    text = (
        "sessions:\n"
        "  headers: [X-Acme-Token, Authorization, X-Patchbay-Session-Id, Content-Length, 'a b', X-Chat, x-chat]\n"
        "  body: ['', a..b, 'a b', a.b, a.b, a.b.c.d.e.f.g.h.i]\n"
        "  order: [own, content]\n" + ONE
    )

    never = "names no conversation: by its name it holds a credential, and its value is never read"
    member = "must name a member of the body, as in chat_id or chat.id"
    assert mistakes(text) == [
        "c:2:12: sessions.headers: has no effect without custom_header in sessions.order",
        f"c:2:13: sessions.headers[0]: {never}",
        f"c:2:27: sessions.headers[1]: {never}",
        "c:2:42: sessions.headers[2]: names no conversation: X-Patchbay-* is Patchbay's own, and "
        "X-Patchbay-Session-Id is read",
        "c:2:65: sessions.headers[3]: names no conversation: it belongs to the connection or the body",
        "c:2:81: sessions.headers[4]: is not a header name",
        "c:2:96: sessions.headers[6]: 'x-chat' is repeated",
        "c:3:9: sessions.body: has no effect without custom_body in sessions.order",
        "c:3:10: sessions.body[0]: must be text, is empty",
        f"c:3:14: sessions.body[1]: {member}, is 'a..b'",
        f"c:3:20: sessions.body[2]: {member}, is 'a b'",
        "c:3:32: sessions.body[4]: 'a.b' is repeated",
        f"c:3:37: sessions.body[5]: {member}, is 'a.b.c.d.e.f.g.h.i'",
    ]


def test_every_mistake_is_told_at_once_with_its_place() -> None:
    text = (
        "stratgey: rendezvous\n"
        "sessions: {ttl: 1:30, order: [codx, own, own]}\n"
        "accounts:\n"
        "- {id: a, provider: opneai, key: [x]}\n"
        "- {id: a, provider: openai, kye: x, weight: -1}\n"
        "- {id: b, provider: openai, key: 'env:', enabled: yes, enabled: no}\n"
    )

    assert mistakes(text, "config.yaml") == [
        "config.yaml:1:1: stratgey: is not a setting, did you mean 'strategy'?",
        "config.yaml:2:17: sessions.ttl: must be a duration such as 90s, 500ms or 1h30m, is '1:30'",
        "config.yaml:2:31: sessions.order[0]: 'codx' is none of own, parent, custom_header, custom_body, "
        "claude_session, codex, harness, generic_header, body_session, conversation, token, cache_key, user, "
        "content, did you mean 'codex'?",
        "config.yaml:2:42: sessions.order[2]: 'own' is repeated",
        "config.yaml:4:21: accounts[0].provider: 'opneai' is not a provider, did you mean 'openai'?",
        "config.yaml:4:34: accounts[0].key: must be a credential: env:NAME, file:PATH, "
        "{cmd: [program, argument]} or the key itself, is a list",
        "config.yaml:5:3: accounts[1]: key is missing",
        "config.yaml:5:8: accounts[1].id: 'a' is already used on line 4",
        "config.yaml:5:29: accounts[1].kye: is not a setting, did you mean 'key'?",
        "config.yaml:5:45: accounts[1].weight: must be > 0, is -1",
        "config.yaml:6:34: accounts[2].key: env: must name an environment variable, as in env:OPENAI_API_KEY",
        "config.yaml:6:51: accounts[2].enabled: must be true or false, is 'yes'; write true",
        "config.yaml:6:56: 'enabled' is repeated, first on line 6",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c:1:1: is empty; it needs settings"),
        ("- a", "c:1:1: must be a mapping (name: value), is a list"),
        ("state: x", "c:1:1: accounts is missing"),
        ("accounts:", "c:1:10: accounts: must hold at least one account"),
        ("accounts: []", "c:1:11: accounts: must hold at least one account"),
        ("accounts: {a: 1}", "c:1:11: accounts: must be a list, is a mapping"),
        ("accounts: [1]", "c:1:12: accounts[0]: must be a mapping (name: value), is 1"),
        (ONE + "sessions: 1h", "c:2:11: sessions: must be a mapping (name: value), is '1h'"),
        (ONE + "other_traffic: no", "c:2:16: other_traffic: 'no' is none of pass, refuse"),
        (ONE + "failover: {attempts: 0}", "c:2:22: failover.attempts: must be 1 or more, is 0"),
        (ONE + "a: b", "c:2:1: a: is not a setting; there are state, store, strategy, sessions, failover, journal,"),
        (
            ONE + "clients: [{name: x, key: env:X}, {name: x, key: env:X}]",
            "c:2:41: clients[1].name: 'x' is already used",
        ),
        *(
            (
                ONE + f"clients: [{{name: ann, key: {key}}}, {{name: bob, key: {key}}}]",
                f"c:2:{48 + len(key)}: clients[1].key: the clients ann and bob have the same key",
            )
            for key in ("example-x", "env:X", "'file:/x#/key'", "{cmd: [x, y]}")
        ),
        ("accounts: [*]", "c:1:13: a value that begins with * must be quoted, as in '*'"),
        ("models: {allow: [*-mini]}", "c:1:18: a value that begins with * must be quoted, as in '*'"),
    ],
)
def test_one_mistake_is_one_line(text: str, said: str) -> None:
    (found,) = mistakes(text)

    assert found.startswith(said)


def test_bytes_that_are_no_text_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="c:1:11: must be UTF-8"):
        load(b"accounts: \xff", "c")


_PIECES = st.sampled_from(
    "accounts: |providers: |id|key|: |\n|  |- |[|]|{|}|, |&a |*a|<<: |!!str |'|\"|\\UFFFFFFFF|%YAML 1.1"
    "|---|# |:|env:|file:#|https://|[::|?|\t|\u00e9|\ud800|~|1e999|true|x-|models|headers|cmd|ttl|reverse|@|generic".split(
        "|"
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=30).map("".join))
def test_no_text_does_anything_but_load_or_be_refused(text: str) -> None:
    for whole in (text, f"accounts: [{{id: a, provider: generic, {text}}}]", f"accounts:\n- id: a\n  key: {text}"):
        try:
            load(whole, "c")
        except ConfigError as e:
            assert e.mistakes
            assert all(re.match(r"c:\d+:\d+: ", mistake) for mistake in e.mistakes)
            str(e).encode()


def test_mistakes_are_bounded() -> None:
    found = mistakes("accounts:\n" + "- {}\n" * 500)

    assert len(found) == 101
    assert found[-1].endswith("and 1400 more")


def test_an_anchor_may_stand_aside_and_be_merged() -> None:
    found = load(
        "x-work: &work {provider: openai, weight: 3}\naccounts:\n"
        "- {<<: *work, id: a, key: env:A}\n- {<<: *work, id: b, key: env:B, weight: 1}\n",
        "c",
    )

    assert [(one.id, one.weight) for one in found.accounts] == [("a", 3.0), ("b", 1.0)]


# -- accounts ---------------------------------------------------------------------------------------------------------


def test_an_account_has_all_its_settings() -> None:
    found = account(
        "enabled: false, weight: 0.5, priority: -2, group: g, quota_group: q, websockets: true, max_concurrent: 3,"
        " models: {allow: [a*], deny: [ab], aliases: {x: y}, upstream_names: {y: z}}, headers: {OpenAI-Project: p}"
    )

    assert (found.enabled, found.weight, found.priority, found.group, found.quota_group) == (False, 0.5, -2, "g", "q")
    assert (found.websockets, found.max_concurrent, found.headers) == (True, 3, {"OpenAI-Project": "p"})
    assert found.models == Models(("a*",), ("ab",), {"x": "y"}, {"y": "z"})
    assert account("models: [a, b]").models == Models(("a", "b"))


def test_plain_http_must_be_allowed_and_is_warned_about() -> None:
    text = "accounts: [{id: a, provider: openai, key: env:A, base_url: 'http://x.example', insecure_http: true}]"
    found = load(text, "c")

    assert found.accounts[0].insecure_http
    assert found.warnings == (
        "c:1:12: accounts[0]: its key goes over plain http to x.example, readable by others on the network",
    )


def test_a_provider_without_an_address_needs_one() -> None:
    assert mistakes("accounts: [{id: a, provider: morpheus, key: env:A}]") == [
        "c:1:12: accounts[0]: base_url is missing: 'morpheus' has no default"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id2: x", "id2: is not a setting, did you mean 'id'?"),
        ("group: a b", "group: must be 1 to 64 letters, digits, '.', '_' or '-', is 'a b'"),
        ("max_concurrent: -1", "max_concurrent: must be 0 or more, is -1"),
        ("priority: 010", "priority: must be a whole number, is '010'"),
        ("priority: 1.5", "priority: must be a whole number, is 1.5"),
        ("websockets: 'true'", "websockets: must be true or false, is text; take the quotes off"),
        ("models: []", "models: must name at least one model; '*' allows all of them"),
        ("models: x", "models: must be a list, is 'x'"),
        ("models: {allowed: [x]}", "models.allowed: is not a setting, did you mean 'allow'?"),
        ("headers: {Authorization: sk-x}", "headers.Authorization: must not be set here: the credential comes from"),
        ("headers: {x-api-key: sk-x}", "headers.x-api-key: must not be set here: the credential comes from key: only"),
        ("headers: {Host: x}", "headers.Host: must not be set here: it belongs to the connection or the body"),
        ("headers: {X-Patchbay-A: x}", "headers.X-Patchbay-A: must not be set here: X-Patchbay-* is Patchbay's own"),
        ("headers: {'a b': x}", "headers.a b: is not a header name"),
        ('headers: {A: "x\\r\\nB: y"}', "headers.A: must be one line of visible ASCII characters"),
    ],
)
def test_an_account_that_will_not_do(text: str, said: str) -> None:
    (found,) = wrong_account(text)

    assert found.startswith(said)
    assert "sk-x" not in found


# -- providers --------------------------------------------------------------------------------------------------------


def test_an_entry_says_only_what_differs_from_its_preset() -> None:
    more = (
        "providers:\n  mine: {preset: morpheus, base_url: 'https://m.example', credential: api-key,"
        " stamp: {body: {metadata.id: '{request_id}'}}, echo: {headers: {X-Req: edge}}, model_ids: {a: 0x1f}}\n"
    )
    found = load(more + "accounts: [{id: a, provider: mine, key: env:A}]", "c").accounts[0]
    mine, preset = found.provider, PRESETS["morpheus"]

    assert (mine.name, mine.preset, mine.families, mine.credential) == (
        "mine", "morpheus", preset.families, "api-key"
    )  # fmt: skip
    assert (found.origin, mine.base_url) == (Origin("https", "m.example", 443), "https://m.example")
    assert mine.stamp.headers == preset.stamp.headers
    assert mine.stamp.body == {"metadata.id": "{request_id}"}
    assert (mine.echo.headers, mine.echo.body, mine.echo.promised) == ({"x-req": "edge"}, preset.echo.body, True)
    assert mine.model_ids == {"a": "0x1f"}


def test_an_entry_under_the_name_of_a_preset_changes_it() -> None:
    found = account("weight: 1", "providers: {openai: {stamp: {patchbay_headers: false}}}").provider

    assert (found.preset, found.base_url, found.stamp.patchbay_headers) == (
        "openai",
        "https://api.openai.com/v1",
        False,
    )
    assert PRESETS["openai"].stamp.patchbay_headers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "m: preset is missing: one of generic, openai,"),
        (
            "{preset: genric}",
            "m.preset: 'genric' is none of generic, openai, openai_compatible, anthropic",
        ),
        ("{preset: openai, base_url: x}", "m.base_url: must begin with https://"),
        ("{preset: openai, credential: barer}", "m.credential: 'barer' is none of auto, bearer"),
        ("{preset: openai, credential: {prefix: 'Token '}}", "m.credential: header is missing"),
        (
            "{preset: openai, credential: {header: bearer}}",
            "m.credential.header: is the name of a form of a key: write",
        ),
        ("{preset: openai, credential: {header: 'a b'}}", "m.credential.header: is not a header name"),
        ("{preset: openai, credential: {header: Cookie}}", "m.credential.header: must not carry the key: it names a"),
        (
            "{preset: openai, credential: {header: ChatGPT-Account-Id}}",
            "m.credential.header: must not carry the key: it",
        ),
        ("{preset: openai, credential: {header: Host}}", "m.credential.header: must not carry the key: it belongs to"),
        ("{preset: openai, credential: {header: X-Patchbay-A}}", "m.credential.header: must not carry the key: it bel"),
        (
            "{preset: openai, credential: {header: X-A, prefix: Token}}",
            "m.credential.prefix: must be visible ASCII char",
        ),
        (
            "{preset: openai, credential: {header: X-A, prefix: ' a '}}",
            "m.credential.prefix: must be visible ASCII char",
        ),
        (
            "{preset: openai, credential: {header: X-A}, pass_headers: [x-a]}",
            "m.pass_headers: X-A must not pass: it carries the account's own credential",
        ),
        (
            "{preset: openai, credential: {header: X-A}, stamp: {headers: {x-a: a}}}",
            "m.stamp: X-A must not be stamped: it carries the account's own credential",
        ),
        ("{preset: openai, stamp: {headers: {A: '{reqest_id}'}}}", "m.stamp.headers.A: {reqest_id} is none of"),
        ("{preset: openai, stamp: {headers: {Cookie: a}}}", "m.stamp.headers.Cookie: must not be set here"),
        ("{preset: openai, stamp: {body: {a.b.c: a}}}", "m.stamp.body.a.b.c: must name a member of the body"),
        ("{preset: openai, echo: {headers: {A: deep}}}", "m.echo.headers.A: 'deep' is none of none, edge, handler"),
        ("{preset: openai, echo: {promised: on}}", "m.echo.promised: must be true or false, is 'on'; write true"),
    ],
)
def test_a_provider_that_will_not_do(text: str, said: str) -> None:
    """And the accounts that name it are not blamed for it."""
    (found,) = mistakes(f"providers:\n  m: {text}\naccounts: [{{id: a, provider: m, key: env:A}}]")

    assert found.partition(" ")[2].startswith(f"providers.{said}")


def test_a_key_in_a_header_of_its_own_is_read() -> None:
    own = "providers: {m: {preset: openai, credential: {header: X-Acme-Token, prefix: 'Token '}}}\n"
    found = load(own + "accounts: [{id: a, provider: m, key: env:A}]", "c")

    assert found.accounts[0].provider.credential == CredentialHeader("X-Acme-Token", "Token ")
    assert found.credential_headers == (CredentialHeader("X-Acme-Token", "Token "),)


def test_the_header_of_the_key_holds_nothing_else() -> None:
    text = (
        "sessions: {headers: [x-acme-chat]}\n"
        "providers: {m: {preset: openai, credential: {header: X-Acme-Chat}}}\n"
        "accounts:\n- {id: a, provider: m, key: env:A, headers: {x-acme-chat: a}}\n"
    )

    assert mistakes(text) == [
        "c:1:22: sessions.headers[0]: names no conversation: X-Acme-Chat carries a key, and its value is never read",
        "c:4:59: accounts[0].headers.x-acme-chat: must not be set here: the credential comes from key: only",
    ]


# -- logins -----------------------------------------------------------------------------------------------------------


def test_an_account_may_be_a_login_that_a_tool_keeps() -> None:
    found = load(
        "accounts:\n- {id: c, provider: claude_login}\n- {id: x, provider: codex_login, login: ~/w/auth.json}\n", "c"
    )
    claude, codex = found.accounts

    assert claude.secret == Secret("file", "~/.claude/.credentials.json", "/claudeAiOauth/accessToken", tool="claude")
    assert claude.secret_headers == ()
    assert codex.secret == Secret("file", "~/w/auth.json", "/tokens/access_token", tool="codex")
    assert codex.secret_headers == (
        SecretHeader("ChatGPT-Account-Id", Secret("file", "~/w/auth.json", "/tokens/account_id", tool="codex")),
    )
    assert found.warnings == ()


def test_a_key_and_headers_of_the_settings_come_before_those_of_a_login() -> None:
    text = "accounts:\n- {id: x, provider: codex_login, headers: {chatgpt-account-id: mine, X-A: a}}\n"
    assert load(text, "c").accounts[0].headers == {"chatgpt-account-id": "mine", "X-A": "a"}
    assert load(text, "c").accounts[0].secret_headers == ()

    keyed = load("accounts: [{id: c, provider: claude_login, key: env:TOKEN}]", "c").accounts[0]
    assert (keyed.secret, keyed.secret_headers) == (Secret("env", "TOKEN"), ())


def test_a_provider_of_the_users_own_keeps_the_login_of_its_preset() -> None:
    own = "providers: {mine: {preset: codex_login, base_url: 'http://127.0.0.1:9/x'}}\n"
    (found,) = load(own + "accounts: [{id: x, provider: mine}]", "c").accounts

    assert (str(found.origin), found.secret.pointer) == ("http://127.0.0.1:9", "/tokens/access_token")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: openai", "accounts[0]: key is missing"),
        (
            "provider: openai, login: ~/x/y",
            "login: is for the presets claude_login, codex_login; other",
        ),
        (
            "provider: claude_login, login: ~/x, key: env:A",
            "login: stands beside key: an account has one of",
        ),
        (
            "provider: claude_login, login: 'file:~/x'",
            "login: must be the path of the file alone, without fi",
        ),
        (
            "provider: claude_login, login: '~/x#/a'",
            "login: must be the path of the file alone; a member of",
        ),
        ("provider: claude_login, logn: ~/x", "logn: is not a setting, did you mean 'login'?"),
        (
            "provider: openai, key: {cmd: [a], pointer: a}",
            "key.pointer: must be a JSON pointer such as /tok",
        ),
    ],
)
def test_a_login_that_will_not_do(text: str, said: str) -> None:
    (found,) = mistakes(f"accounts: [{{id: a, {text}}}]")

    assert found.partition(" ")[2].removeprefix("accounts[0].").startswith(said)


def test_the_output_of_a_command_may_be_looked_into() -> None:
    found = key("{cmd: [security, find-generic-password, -w], pointer: /claudeAiOauth/accessToken}")

    assert (found.source, found.pointer) == ("cmd", "/claudeAiOauth/accessToken")


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_literal_key_is_a_warning_unless_it_is_harmless_or_unused() -> None:
    text = (
        "clients: [{name: x, key: sk-live-3}]\naccounts:\n- {id: a, provider: openai, key: sk-live-1}\n"
        "- {id: b, provider: openai, key: sk-live-2, enabled: false}\n- {id: c, provider: openai, key: example-4}\n"
    )
    found = load(text, "c").warnings

    said = "is stored here in plain text; env:, file: or {cmd: […]} keep it out of this file"
    assert found == (f"c:1:26: clients[0].key: {said}", f"c:3:34: accounts[0].key: {said}")


def test_a_variable_that_is_not_set_is_a_warning_where_it_is_needed() -> None:
    text = (
        "accounts:\n- {id: a, provider: openai, key: env:A}\n- {id: b, provider: openai, key: env:B}\n"
        "- {id: c, provider: openai, key: env:C, enabled: false}\n"
    )

    assert load(text, "c", env={"A": "sk-a"}).warnings == (
        "c:3:34: accounts[1].key: the environment variable B is not set",
    )
    assert load(text, "c").warnings == ()


def test_no_enabled_account_is_a_warning() -> None:
    found = load("accounts: [{id: a, provider: openai, key: env:A, enabled: false}]", "c")

    assert found.warnings == ("c:1:11: accounts: no account is enabled, so every request will be refused",)


def test_nothing_of_a_config_shows_a_key() -> None:
    found = load(
        "accounts: [{id: a, provider: openai, key: sk-live-1}, {id: b, provider: openai, key: {cmd: [e, sk-live-2]}}]",
        "c",
    )

    assert "sk-live" not in repr(found)


# -- what is written about it -----------------------------------------------------------------------------------------


def test_the_example_runs_as_it_stands() -> None:
    found = load(EXAMPLE, "config.example.yaml", env={})

    assert found.warnings == ()
    enabled = [one for one in found.accounts if one.enabled]
    assert [(one.provider.name, one.origin, one.secret.value) for one in enabled] == [
        ("generic", None, "example-key-one"),
        ("generic", None, "example-key-two"),
    ]


def test_what_the_example_has_switched_off_is_sound_and_the_default() -> None:
    found = load(re.sub(r"(?m)^( *)#(?=\S)", r"\1", EXAMPLE), "config.example.yaml", env={})
    plain = Config(accounts=())

    assert [client.name for client in found.clients] == ["laptop"]
    assert found.journal == JournalSettings("~/.local/state/patchbay/journal.jsonl")
    assert found.store == "memory"
    examples = {
        "accounts",
        "store",
        "clients",
        "journal",
        "crosstalk",
        "sessions",
        "other_traffic",
        "allowed_hosts",
        "allowed_origins",
    }
    for name in {field.name for field in fields(Config) if field.compare} - examples:
        assert getattr(found, name) == getattr(plain, name), name
    assert replace(found.crosstalk, on_incident=()) == plain.crosstalk
    assert replace(found.sessions, headers=(), body=()) == plain.sessions
    assert {(one.weight, one.priority, one.insecure_http) for one in found.accounts} == {(1.0, 0, False)}
    assert not found.clients[0].may_pin


def test_the_example_holds_every_setting() -> None:
    document = yaml.safe_load(re.sub(r"(?m)^( *)#(?=\S)", r"\1", EXAMPLE))

    assert ACCEPTED - set(written(document, reader.SETTINGS)) == set()


KINDS: dict[type, tuple[Section, set[str]]] = {  # a value → its section, and the fields that are not written there
    Config: (reader.SETTINGS, {"warnings", "places"}),
    SessionSettings: (reader.SESSIONS, set()),
    FailoverSettings: (reader.FAILOVER, set()),
    CrosstalkSettings: (reader.CROSSTALK, set()),
    QueueSettings: (reader.QUEUE, set()),
    JournalSettings: (reader.JOURNAL, set()),
    LimitSettings: (reader.LIMITS, set()),
    ClientKey: (reader.CLIENT, set()),
    Account: (reader.ACCOUNT, {"place", "switched_off"}),
    Models: (reader.MODELS, set()),
    Provider: (reader.PROVIDER, {"name", "layout", "endpoints", "list_items", "login", "variables"}),
    CredentialHeader: (syntax.CREDENTIAL.long, set()),
    Stamp: (reader.STAMP, set()),
    Echo: (reader.ECHO, set()),
    Timeouts: (reader.TIMEOUTS, {"whole_first_byte", "whole_idle"}),
    ErrorRule: (reader.ERROR_RULE, set()),
    Secret: (syntax.COMMAND, {"source", "value", "tool"}),
}
WRITTEN = {
    "secret": "key", "secret_headers": "headers", "origin": "base_url", "base_path": "base_url", "argv": "cmd",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_the_settings_can_be_written(kind: type) -> None:
    section, ours = KINDS[kind]
    written = {WRITTEN.get(field.name, field.name) for field in fields(kind)} - ours

    assert written == section.keys.keys() - {Config: {"providers"}, Account: {"login"}}.get(kind, set())


def test_every_value_of_the_settings_has_its_section() -> None:
    values = {
        kind
        for module in (settings_module, account_module)
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
    }

    assert values - {SecretHeader, LoginFile, ServiceVariables} == KINDS.keys()


def _file(table: str = "keys", setting: str = "") -> str:
    """Return a settings file with *setting* in the place that the *table* of docs/settings.md is about."""
    inner = {"accounts": "", "providers": "", "clients": "", "keys": ""}
    if table in inner:
        inner[table] = setting and f", {setting}"
        setting = ""
    elif table != "Top level":
        setting = f"{table}: {{{setting}}}"
    return (
        f"accounts: [{{id: a, provider: p, key: {{cmd: [e]{inner['keys']}}}{inner['accounts']}}}]\n"
        f"providers: {{p: {{preset: openai_compatible, base_url: 'https://p.example'{inner['providers']}}}}}\n"
        f"clients: [{{name: n, key: example-c{inner['clients']}}}]\n{setting}"
    )


def _defaults() -> Iterator[tuple[str, str, str]]:
    """Yield (table, setting, default) of docs/settings.md, where the page states a value."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        tables = "".join(re.findall(r"^\| setting \| default \| meaning \|\n((?:\|.*\n)+)", section, re.MULTILINE))
        for name, default in re.findall(r"^\| `([a-z_.]+)` \| `([^`|]+)`(?: \||; an answer)", tables, re.MULTILINE):
            yield section.splitlines()[0], name, default


@pytest.mark.parametrize(("table", "name", "default"), [*_defaults()])
def test_the_default_that_the_page_states_changes_nothing_when_it_is_written(
    table: str, name: str, default: str
) -> None:
    outer, _, inner = name.rpartition(".")
    setting = f"{outer}: {{{inner}: {default}}}" if outer else f"{name}: {default}"

    assert _for_streams(load(_file(table, setting), "c")) == _for_streams(load(_file(), "c"))


def _for_streams(config: Config) -> Config:
    """Return *config* without the timeouts of whole answers, which are those of streams where a setting names these."""
    (one,) = config.accounts
    timeouts = replace(one.provider.timeouts, whole_first_byte=0.0, whole_idle=0.0)
    return replace(config, accounts=(replace(one, provider=replace(one.provider, timeouts=timeouts)),))


def test_where_the_page_states_no_default_there_is_none() -> None:
    """`required`, `the preset's`, `see below` and the like are no values."""
    for kind, table in ((Config, "Top level"), (CrosstalkSettings, "crosstalk"), (JournalSettings, "journal")):
        text = PAGE.partition(f"\n## {table}\n")[2].partition("\n## ")[0]
        without = re.findall(r"^\| `([a-z_]+)` \| none \|", text, re.MULTILINE)

        assert {field.name: field.default for field in fields(kind) if field.name in without and field.default} == {}


def test_every_setting_is_documented() -> None:
    rows = set()
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading = part.splitlines()[0].lower().replace(" ", "_")
        tables = "".join(re.findall(r"^\| setting \| default \| meaning \|\n((?:\|.*\n)+)", part, re.MULTILINE))
        for cell in re.findall(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \|", tables, re.MULTILINE):
            for name in re.findall(r"[a-z_.]+", cell):
                section, _, key = name.rpartition(".")
                rows.add((section or heading, key))

    assert ACCEPTED - rows == set()
    assert rows - ACCEPTED == set()


def test_bounds_come_from_the_account_or_its_provider() -> None:
    more = "providers: {p: {preset: morpheus, base_url: 'https://m.example', serialize: thread}}"
    (plain,) = load(f"{more}\naccounts: [{{id: a, provider: p, key: env:A}}]", "c").accounts
    (own,) = load(
        f"{more}\naccounts: [{{id: a, provider: p, key: env:A, serialize: none, slots: 2, rpm: 60, tpm: 1000,"
        " trust_reset: strict}]",
        "c",
    ).accounts

    assert (plain.slots, plain.serialize, plain.rpm, plain.tpm, plain.trust_reset) == (5, "thread", 0, 0, "verify")
    assert (own.slots, own.serialize, own.rpm, own.tpm, own.trust_reset) == (2, "none", 60, 1000, "strict")


def test_error_rules_of_an_account_go_before_those_of_its_provider() -> None:
    more = "providers: {p: {preset: openai, error_rules: [{contains: x, outcome: rate}]}}"
    (found,) = load(
        f"{more}\naccounts: [{{id: a, provider: p, key: env:A, error_rules: [{{status: [400, 403], cooldown: 1h}},"
        " {status: 500, outcome: overload}]}]",
        "c",
    ).accounts

    assert found.error_rules == (
        ErrorRule(frozenset({400, 403}), "", None, 3600.0),
        ErrorRule(frozenset({500}), "", "overload", None),
        ErrorRule(frozenset(), "x", "rate", None),
    )


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("{outcome: rate}", "error_rules[0]: must say which errors it is about: status, contains, or both"),
        ("{status: 400}", "error_rules[0]: must say what they mean: outcome, cooldown, or both"),
        ("{status: 99, outcome: rate}", "error_rules[0].status: must be 100 or more, is 99"),
        ("{status: 400, outcome: ok}", "error_rules[0].outcome: 'ok' is none of rate, quota, overload, auth,"),
    ],
)
def test_a_rule_says_which_errors_and_what_they_mean(rule: str, wrong: str) -> None:
    (found,) = wrong_account(f"error_rules: [{rule}]")
    assert found.startswith(wrong)


def test_the_queue_is_read() -> None:
    assert load(ONE + "queue: {limit: 5, timeout: 1m, preferred_wait: 0}", "c").queue == QueueSettings(5, 60.0, 0.0)


def test_what_a_client_may_use_is_read() -> None:
    text = ONE + "clients: [{name: x, key: env:X, scope: s, pools: [openai], providers: [vllm-*], models: [gpt-*]}]\n"
    (found,) = load(text, "c").clients

    assert (found.scope, found.pools, found.providers, found.models) == ("s", ("openai",), ("vllm-*",), ("gpt-*",))
    (wrong,) = mistakes(ONE + "clients: [{name: x, key: env:X, models: []}]\n")
    assert "must name at least one" in wrong


@pytest.mark.parametrize(
    "accounts", ["", "accounts: []", "accounts: [{id: a, provider: openai, key: x, enabled: false}]"]
)
def test_looking_needs_no_account(accounts: str) -> None:
    """T8: in shadow nothing is refused for want of an account, and nothing is said about it."""
    found = reader.load(f"mode: shadow\n{accounts}", "c")

    assert not any(account.enabled for account in found.accounts)
    assert found.warnings == ()


@pytest.mark.parametrize("accounts", ["", "accounts: []"])
def test_serving_needs_an_account(accounts: str) -> None:
    with pytest.raises(ConfigError, match=r"accounts is missing|must hold at least one account"):
        reader.load(f"mode: serve\n{accounts}", "c")


def test_a_missing_variable_of_a_header_is_a_warning() -> None:
    """T9: as of a key."""
    text = "accounts: [{id: a, provider: openai, key: env:KEY, headers: {X-Acme: 'env:ACME'}}]"

    assert [w.partition(": ")[2] for w in reader.load(text, "c", env={"KEY": "x"}).warnings] == [
        "accounts[0].headers.X-Acme: the environment variable ACME is not set"
    ]


@pytest.mark.parametrize("models", ["[KEY]", "{allow: [KEY]}"])
def test_one_mistake_in_a_list_is_one_message(models: str) -> None:
    """T6: a list in which everything is refused is not said to be empty as well."""
    text = f"accounts: [{{id: a, provider: openai, key: env:HOME, models: {models}}}]"
    with pytest.raises(reader.ConfigError) as refused:
        reader.load(text.replace("KEY", "sk-3f9a2b7c1d4e5f60718293a4b5c6d7e8"), "c.yaml")
    assert len(refused.value.mistakes) == 1


def test_a_whole_answer_has_no_bound_unless_the_settings_name_one() -> None:
    """A4: models think for longer than five minutes, and a bound that the user sets holds for whole answers too."""
    accounts = "accounts: [{id: a, provider: mine, key: example-k}]\n"
    mine = "providers: {{mine: {{preset: generic, base_url: 'https://a.example', timeouts: {}}}}}\n"
    [account] = reader.load(mine.format("{connect: 3s}") + accounts, "config.yaml").accounts
    timeouts = account.provider.timeouts
    assert (timeouts.first_byte, timeouts.idle) == (300.0, 300.0)
    assert (
        timeouts.for_whole_answer.first_byte,
        timeouts.for_whole_answer.idle,
        timeouts.for_whole_answer.connect,
    ) == (0.0, 0.0, 3.0)
    [account] = reader.load(mine.format("{first_byte: 4s, idle: 5s}") + accounts, "config.yaml").accounts
    assert (account.provider.timeouts.for_whole_answer.first_byte, account.provider.timeouts.for_whole_answer.idle) == (
        4.0,
        5.0,
    )
