from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from patchbay.settings import reader
from patchbay.settings.presets import PRESETS
from patchbay.settings.reader import ConfigError, load
from patchbay.settings.settings import TIERS, ClientKey, Config, Failover, JournalSettings, Limits, Queue, Sessions
from patchbay.settings.yaml_document import Each, Either, Named, Read, Section
from patchbay.values.account import Account, ErrorRule, Models, Secret
from patchbay.values.http import Origin

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
ONE = "accounts: [{id: a, provider: generic, base_url: reverse, key: example-key}]\n"


def account(text: str, more: str = "") -> Account:
    """Return the account that *text* adds to a good one."""
    return load(f"{more}\naccounts:\n- {{id: a, provider: openai, key: example-key, {text}}}\n", "c").accounts[0]


def mistakes(text: str, name: str = "c") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, name)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return list(caught.value.mistakes)


def wrong_account(text: str) -> list[str]:
    """Return what is wrong with *text* in an account, without places."""
    found = mistakes(f"accounts:\n- {{id: a, provider: openai, key: example-key, {text}}}\n")
    return [one.partition(" ")[2].removeprefix("accounts[0].") for one in found]


def key(text: str) -> Secret:
    return load(f"accounts: [{{id: a, provider: openai, key: {text}}}]", "c").accounts[0].secret


def wrong_key(text: str) -> str:
    (found,) = mistakes(f"accounts: [{{id: a, provider: openai, key: {text}}}]")
    return found.partition(" ")[2].removeprefix("accounts[0].")


def names(read: Read) -> Iterator[str]:
    """Yield every key of a setting that *read* and what is below it accept."""
    match read:
        case Section(keys=keys):
            for name, inner in keys.items():
                yield name
                yield from names(inner)
        case Each(inner=inner) | Named(inner=inner) | Either(long=inner):
            yield from names(inner)


ACCEPTED = frozenset(names(reader.SETTINGS))


# -- the whole --------------------------------------------------------------------------------------------------------


def test_what_is_not_said_is_the_default() -> None:
    found = load(ONE, "c")

    assert found == Config(accounts=found.accounts)
    (one,) = found.accounts
    assert one == Account("a", PRESETS["generic"], Secret("literal", "example-key"), place="c:1:12")


def test_every_section_is_read() -> None:
    found = load(
        ONE + "state: /s\nstrategy: least_busy\nother: pass\n"
        "sessions: {order: [generic_header, own], ttl: 90s, limit: 5, subagents: isolate, on_error: clear}\n"
        "failover: {attempts: 2, seconds: 500ms}\n"
        "journal: {path: j, max_bytes: 1KiB, keep: 0}\n"
        "limits: {body: 1MB, keep_streamed: 1}\n"
        "clients: [{name: x, key: env:X, may_pin: true}, {name: y, key: env:Y}]\n",
        "c",
    )

    assert (found.state, found.strategy, found.other) == ("/s", "least_busy", "pass")
    assert found.sessions == Sessions(("generic_header", "own"), 90.0, 5, "isolate", "clear")
    assert found.failover == Failover(2, 0.5)
    assert found.journal == JournalSettings("j", 1024, 0)
    assert found.limits == Limits(1_000_000, 1)
    assert found.clients == (
        ClientKey("x", Secret("env", "X"), True),
        ClientKey("y", Secret("env", "Y"), False),
    )


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
        "config.yaml:1:1: stratgey: is no setting, did you mean 'strategy'?",
        "config.yaml:2:17: sessions.ttl: must be a duration such as 90s, 500ms or 1h30m, is '1:30'",
        "config.yaml:2:31: sessions.order[0]: 'codx' is none of own, parent, claude_session, codex, harness, "
        "generic_header, body_session, conversation, token, cache_key, user, content, did you mean 'codex'?",
        "config.yaml:2:42: sessions.order[2]: 'own' stands here twice",
        "config.yaml:4:21: accounts[0].provider: 'opneai' is no provider, did you mean 'openai'?",
        "config.yaml:4:34: accounts[0].key: must be a credential: env:NAME, file:PATH, "
        "{cmd: [program, argument]} or the key itself, is a list",
        "config.yaml:5:3: accounts[1]: key is missing",
        "config.yaml:5:8: accounts[1].id: 'a' is taken already, on line 4",
        "config.yaml:5:29: accounts[1].kye: is no setting, did you mean 'key'?",
        "config.yaml:5:45: accounts[1].weight: must be > 0, is -1",
        "config.yaml:6:34: accounts[2].key: env: must name an environment variable, as in env:OPENAI_API_KEY",
        "config.yaml:6:51: accounts[2].enabled: must be true or false, is 'yes'; write true",
        "config.yaml:6:56: 'enabled' stands here twice, first on line 6",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c:1:1: is empty; it needs settings"),
        ("- a", "c:1:1: must be a mapping (name: value), is a list"),
        ("state: x", "c:1:1: accounts is missing"),
        ("accounts:", "c:1:10: accounts: must hold an account at least"),
        ("accounts: []", "c:1:11: accounts: must hold an account at least"),
        ("accounts: {a: 1}", "c:1:11: accounts: must be a list, is a mapping"),
        ("accounts: [1]", "c:1:12: accounts[0]: must be a mapping (name: value), is 1"),
        (ONE + "sessions: 1h", "c:2:11: sessions: must be a mapping (name: value), is '1h'"),
        (ONE + "other: no", "c:2:8: other: 'no' is none of pass, refuse"),
        (ONE + "failover: {attempts: 0}", "c:2:22: failover.attempts: must be 1 or more, is 0"),
        (ONE + "a: b", "c:2:1: a: is no setting; there are state, store, strategy, sessions, failover, journal,"),
        (ONE + "clients: [{name: x, key: env:X}, {name: x, key: env:X}]", "c:2:41: clients[1].name: 'x' is taken"),
        ("accounts: [*]", "c:1:13: what begins with * must be quoted, as in '*'"),
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
        "enabled: false, weight: 0.5, priority: -2, group: g, quota: q, websockets: true, max_concurrent: 3,"
        " models: {allow: [a*], deny: [ab], aliases: {x: y}, names: {y: z}}, headers: {OpenAI-Project: p}"
    )

    assert (found.enabled, found.weight, found.priority, found.group, found.quota) == (False, 0.5, -2, "g", "q")
    assert (found.websockets, found.max_concurrent, found.headers) == (True, 3, {"OpenAI-Project": "p"})
    assert found.models == Models(("a*",), ("ab",), {"x": "y"}, {"y": "z"})
    assert account("models: [a, b]").models == Models(("a", "b"))


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://API.Example.com/v1/", Origin("https", "api.example.com", 443), "/v1"),
        ("HTTPS://api.example.com", Origin("https", "api.example.com", 443), ""),
        ("https://api.example.com:8443/a/b", Origin("https", "api.example.com", 8443), "/a/b"),
        ("http://localhost/v1", Origin("http", "localhost", 80), "/v1"),
        ("http://127.0.0.7:8000", Origin("http", "127.0.0.7", 8000), ""),
        ("'http://[0:0::1]:8000/v1'", Origin("http", "::1", 8000), "/v1"),
        ("reverse", None, ""),
    ],
)
def test_base_urls(url: str, origin: Origin | None, path: str) -> None:
    found = account(f"base_url: {url}")

    assert (found.origin, found.base_path) == (origin, path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("reversed", "must begin with https:// or http://, or be 'reverse', is 'reversed'"),
        ("api.openai.com/v1", "must begin with https:// or http://, or be 'reverse', is 'api.openai.com/v1'"),
        ("ftp://me:hidden@x", "must begin with https:// or http://, or be 'reverse'"),
        ("https://me:hidden@x", "must not hold a user name or password"),
        ("https://x/?key=hidden", "must not hold a query or a fragment (? or #)"),
        ("https://x/#", "must not hold a query or a fragment (? or #)"),
        ("https://", "must name a host in plain ASCII letters (or an address), without blanks"),
        ("https://bücher.example", "must name a host in plain ASCII letters (or an address), without blanks"),
        ("'https://a b'", "must name a host in plain ASCII letters (or an address), without blanks"),
        ("'https://a\\b'", "must name a host in plain ASCII letters (or an address), without blanks"),
        ("https://x:0", "must name a port from 1 to 65535"),
        ("https://x:70000", "must be a URL such as https://api.openai.com/v1"),
        ("'https://[::1'", "must be a URL such as https://api.openai.com/v1"),
        ("https://x/a/../b", "must have a plain path: no blanks, no //, no . or .. between slashes"),
        ("http://x.example", "must be https: no key goes over plain http beyond this machine (see insecure_http)"),
        ("http://127.0.0.1.example", "must be https: no key goes over plain http beyond this machine"),
    ],
)
def test_a_base_url_that_will_not_do(url: str, said: str) -> None:
    (found,) = wrong_account("base_url: '" + url.strip("'") + "'")

    assert found.startswith(f"base_url: {said}")
    assert "hidden" not in found


def test_plain_http_must_be_allowed_and_is_warned_about() -> None:
    text = "accounts: [{id: a, provider: openai, key: env:A, base_url: 'http://x.example', insecure_http: true}]"
    found = load(text, "c")

    assert found.accounts[0].insecure_http
    assert found.warnings == ("c:1:12: accounts[0]: its key goes over plain http to x.example, readable on the way",)


def test_a_provider_without_an_address_needs_one() -> None:
    assert mistakes("accounts: [{id: a, provider: morpheus, key: env:A}]") == [
        "c:1:12: accounts[0]: base_url is missing: 'morpheus' has none of its own"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id2: x", "id2: is no setting, did you mean 'id'?"),
        ("group: a b", "group: must be 1 to 64 letters, digits, '.', '_' or '-', is 'a b'"),
        ("max_concurrent: -1", "max_concurrent: must be 0 or more, is -1"),
        ("priority: 010", "priority: must be a whole number, is '010'"),
        ("priority: 1.5", "priority: must be a whole number, is 1.5"),
        ("websockets: 'true'", "websockets: must be true or false, is text; take the quotes off"),
        ("models: []", "models: must name a model at least; '*' allows all of them"),
        ("models: x", "models: must be a list, is 'x'"),
        ("models: {allowed: [x]}", "models.allowed: is no setting, did you mean 'allow'?"),
        ("headers: {Authorization: sk-x}", "headers.Authorization: must not be set here: a credential comes from"),
        ("headers: {x-api-key: sk-x}", "headers.x-api-key: must not be set here: a credential comes from key: alone"),
        ("headers: {Host: x}", "headers.Host: must not be set here: it belongs to the connection or the body"),
        ("headers: {X-Patchbay-A: x}", "headers.X-Patchbay-A: must not be set here: X-Patchbay-* is Patchbay's own"),
        ("headers: {'a b': x}", "headers.a b: is no name of a header"),
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
    found = account("weight: 1", "providers: {openai: {stamp: {namespace: false}}}").provider

    assert (found.preset, found.base_url, found.stamp.namespace) == ("openai", "https://api.openai.com/v1", False)
    assert PRESETS["openai"].stamp.namespace


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "m: preset is missing: one of generic, openai,"),
        ("{preset: genric}", "m.preset: 'genric' is none of generic, openai, openai_compatible, anthropic, gemini"),
        ("{preset: openai, base_url: x}", "m.base_url: must begin with https://"),
        ("{preset: openai, credential: barer}", "m.credential: 'barer' is none of auto, bearer"),
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


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_the_sources_of_a_key() -> None:
    assert key("env:OPENAI_API_KEY") == Secret("env", "OPENAI_API_KEY")
    assert key("file:~/keys/a") == Secret("file", "~/keys/a")
    assert key("file:/a.json#/tokens/0") == Secret("file", "/a.json", "/tokens/0")
    assert key("{cmd: [op, read, 'op://a b']}") == Secret("cmd", argv=("op", "read", "op://a b"))
    assert key("{cmd: [op], ttl: 1m, timeout: 3}") == Secret("cmd", argv=("op",), ttl=60.0, timeout=3.0)
    assert key("sk-ant:with:colons") == Secret("literal", "sk-ant:with:colons")
    assert key("0123") == Secret("literal", "0123")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "key: must be a credential: env:NAME, file:PATH, {cmd: [program, argument]} or the key itself, is empty"),
        ("'env:'", "key: env: must name an environment variable, as in env:OPENAI_API_KEY"),
        ("env:sk-hidden", "key: env: must name an environment variable, as in env:OPENAI_API_KEY"),
        ("'file:'", "key: file: must name a file, as in file:~/.config/patchbay/key"),
        ("file:/a#hidden", "key: what stands after # must be a JSON pointer such as #/tokens/access_token"),
        ("'cmd: op read'", "key: must be written as {cmd: [program, argument]}"),
        ("{cmd: op read hidden}", "key.cmd: must be a list of words, as in [op, read, 'op://…']; no shell runs it"),
        ("{cmd: []}", "key.cmd: must name a program"),
        ("{cmd: [op], tll: 5m}", "key.tll: is no setting, did you mean 'ttl'?"),
        ("{ttl: 5m}", "key: cmd is missing"),
        ("Bearer sk-hidden", "key: must be the key alone: it holds a space or a line break"),
        ('"sk-hidden\\r\\nX: y"', "key: must be the key alone: it holds a space or a line break"),
        ("sk-hidden-ü", "key: must be visible ASCII characters only"),
        ("$HIDDEN", "key: variables are written env:NAME"),
        ("os.environ/HIDDEN", "key: variables are written env:NAME"),
    ],
)
def test_a_key_that_will_not_do_is_not_shown(text: str, said: str) -> None:
    found = wrong_key(text)

    assert found == said
    assert "hidden" not in found.lower()


def test_a_literal_key_is_a_warning_unless_it_is_harmless_or_unused() -> None:
    text = (
        "clients: [{name: x, key: sk-live-3}]\naccounts:\n- {id: a, provider: openai, key: sk-live-1}\n"
        "- {id: b, provider: openai, key: sk-live-2, enabled: false}\n- {id: c, provider: openai, key: example-4}\n"
    )
    found = load(text, "c").warnings

    said = "stands here in plain text; env:, file: or {cmd: […]} keep it out of this file"
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

    assert found.warnings == ("c:1:11: accounts: none is enabled, so every request will be refused",)


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
    for name in ("state", "strategy", "sessions", "failover", "limits"):
        assert getattr(found, name) == getattr(plain, name)
    assert [one.weight for one in found.accounts] == [1.0] * len(found.accounts)


def test_the_example_holds_every_setting() -> None:
    stands = set(re.findall(r"(?:^|[{,#-]) *([a-z_]+):", EXAMPLE, re.MULTILINE))

    assert ACCEPTED - stands == set()


def test_every_field_of_the_settings_can_be_written() -> None:
    written = {"secret": "key", "secret_headers": "headers", "origin": "base_url", "base_path": "base_url"}
    ours = {"warnings", "place", "places"}
    for kind in (Config, Account, Sessions, Failover, JournalSettings, Limits, Models):
        assert {written.get(field.name, field.name) for field in fields(kind)} - ours <= ACCEPTED


def test_every_setting_is_documented() -> None:
    told = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = {name.rpartition(".")[2] for name in re.findall(r"^\| `([a-z_.]+)` \|", told, re.MULTILINE)}

    assert ACCEPTED - rows == set()
    assert rows - ACCEPTED == set()
    for word in (*TIERS, *PRESETS, "rendezvous", "round_robin", "fill_first", "least_busy"):
        assert f"`{word}`" in told


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
    assert load(ONE + "queue: {limit: 5, seconds: 1m, patience: 0}", "c").queue == Queue(5, 60.0, 0.0)


def test_what_a_client_may_use_is_read() -> None:
    text = ONE + "clients: [{name: x, key: env:X, scope: s, pools: [openai], providers: [vllm-*], models: [gpt-*]}]\n"
    (found,) = load(text, "c").clients

    assert (found.scope, found.pools, found.providers, found.models) == ("s", ("openai",), ("vllm-*",), ("gpt-*",))
    (wrong,) = mistakes(ONE + "clients: [{name: x, key: env:X, models: []}]\n")
    assert "must name one at least" in wrong


def test_hosts_and_pages_that_are_allowed_are_read() -> None:
    found = load(
        ONE + "allowed_hosts: [Box.lan, '*.corp', '[::2]', '*']\nallowed_origins: [http://A.b:3000, 'null']\n", "c"
    )

    assert found.allowed_hosts == ("box.lan", "*.corp", "::2", "*")
    assert found.allowed_origins == ("http://a.b:3000", "null")


@pytest.mark.parametrize("host", ["box.lan:80", "http://box.lan", "a b", "b*x"])
def test_a_host_is_a_name(host: str) -> None:
    assert "must be a host's name" in mistakes(ONE + f"allowed_hosts: ['{host}']\n")[0]


@pytest.mark.parametrize("page", ["box.lan", "http://box.lan/", "'*'", "http://u@box.lan"])
def test_a_page_is_an_origin(page: str) -> None:
    assert "must be an origin" in mistakes(ONE + f"allowed_origins: [{page}]\n")[0]


@pytest.mark.parametrize(
    "value",
    ["memory", "sqlite", "sqlite:///~/x.db", "redis://h:6379/0", "rediss://:pw@h", "redis://[::1]", "env:STORE_URL"],
)
def test_a_store_is_named_by_a_url(value: str) -> None:
    found = load(f"store: '{value}'\n" + ONE, "c")

    assert found.store == value
    assert value not in repr(found)


@pytest.mark.parametrize(
    "value",
    ["", "sqlite://x", "sqlite:///", "redis://", "redis:///0", "postgres://sk-pw@h", "env:a b", "redis://h:sk-pw"],
)
def test_a_store_that_will_not_do_is_not_quoted(value: str) -> None:
    (found,) = mistakes(f"store: '{value}'\n" + ONE)

    assert "store: must be" in found
    assert "sk-pw" not in found


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
    with pytest.raises(ConfigError, match=r"accounts is missing|must hold an account at least"):
        reader.load(f"mode: serve\n{accounts}", "c")


def test_the_headers_of_an_account_hold_credentials_like_its_key() -> None:
    """T9: by where it is kept, by the name of the header, or by its own looks; everything else is text."""
    headers = (
        '{X-One: "env:ONE", X-Two: "Bearer file:/two#/a", X-Three: {cmd: [three], ttl: 1s}, X-Acme-Token: four,'
        " X-Five: 'Key sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ', OpenAI-Organization: org-x, X-Six: 'a: b'}"
    )
    [account] = reader.load(f"accounts: [{{id: a, provider: openai, key: env:KEY, headers: {headers}}}]", "c").accounts

    assert account.headers == {"OpenAI-Organization": "org-x", "X-Six": "a: b"}
    assert [(own.name, own.scheme, own.secret) for own in account.secret_headers] == [
        ("X-One", "", Secret("env", "ONE")),
        ("X-Two", "Bearer ", Secret("file", "/two", "/a")),
        ("X-Three", "", Secret("cmd", argv=("three",), ttl=1.0)),
        ("X-Acme-Token", "", Secret("literal", "four")),
        ("X-Five", "Key ", Secret("literal", "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ")),
    ]
    assert account.secrets == (Secret("env", "KEY"), *(own.secret for own in account.secret_headers))
    assert "four" not in repr(account)


@pytest.mark.parametrize(
    ("provider", "complaint"),
    [
        ("stamp: {headers: {X-Acme-Token: 'env:NAME'}}", "must not be a credential; one belongs among the headers"),
        ("stamp: {body: {token: 'file:/x'}}", "must not be a credential; one belongs among the headers"),
        ("pass_headers: [Authorization]", "must not pass: the account's own credential stands there"),
        ("pass_headers: [Connection]", "must not pass: it belongs to the connection"),
        ("pass_headers: [X-Patchbay-Account]", "must not pass: it belongs to the connection"),
        ("pass_headers: ['a b']", "is no name of a header"),
    ],
)
def test_where_a_credential_cannot_be_it_is_refused(provider: str, complaint: str) -> None:
    """T7, T9: a stamp is the same for all accounts of a provider, and the account's own key is no client's."""
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        reader.load(
            f"providers: {{p: {{preset: openai, {provider}}}}}\naccounts: [{{id: a, provider: p, key: x}}]", "c"
        )


def test_a_missing_variable_of_a_header_is_a_warning() -> None:
    """T9: as of a key."""
    text = "accounts: [{id: a, provider: openai, key: env:KEY, headers: {X-Acme: 'env:ACME'}}]"

    assert [w.partition(": ")[2] for w in reader.load(text, "c", env={"KEY": "x"}).warnings] == [
        "accounts[0].headers.X-Acme: the environment variable ACME is not set"
    ]


@pytest.mark.parametrize(
    "host", ["sk-consulting-cloud.example", "ak-bratislava-1.llm.example.com", "key-value-4.example"]
)
def test_a_host_of_words_may_begin_like_a_key(host: str) -> None:
    """T6: what is legitimate loads; a key in its place is refused."""
    text = "accounts: [{{id: a, provider: generic, key: env:HOME, base_url: 'https://{}'}}]"
    assert reader.load(text.format(host), "c.yaml").accounts[0].origin == Origin("https", host, 443)
    with pytest.raises(reader.ConfigError, match="looks like a key"):
        reader.load(text.format("sk-3f9a2b7c1d4e5f60718293a4b5c6d7e8.example"), "c.yaml")


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
    assert (timeouts.of_whole.first_byte, timeouts.of_whole.idle, timeouts.of_whole.connect) == (0.0, 0.0, 3.0)
    [account] = reader.load(mine.format("{first_byte: 4s, idle: 5s}") + accounts, "config.yaml").accounts
    assert (account.provider.timeouts.of_whole.first_byte, account.provider.timeouts.of_whole.idle) == (4.0, 5.0)
