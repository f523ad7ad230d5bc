"""Read the settings from YAML: every mistake at once, each with its place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from .. import secret_patterns
from ..dialects import FAMILIES
from ..frozen import dataclass
from ..values.account import (
    METADATA,
    Account,
    CredentialHeader,
    Depth,
    Echo,
    ErrorRule,
    LoginFile,
    Models,
    OutcomeKind,
    Provider,
    Secret,
    SecretHeader,
)
from ..values.http import is_loopback
from . import syntax, yaml_document
from .presets import PRESETS
from .renamed import RENAMED
from .settings import (
    ClientKey,
    Config,
    CrosstalkSettings,
    FailoverSettings,
    JournalSettings,
    LimitSettings,
    QueueSettings,
    SessionSettings,
)
from .yaml_document import Each, Either, InvalidSetting, Mistake, Named, Notes, Read, Scalar, Section, Setting


class ConfigError(ValueError):
    """The settings are invalid. *mistakes* has every mistake with its place; the text has one a line."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load(text: str | bytes, name: str, *, env: Mapping[str, str] | None = None) -> Config:
    """
    Read settings from YAML *text*; *name* is what messages call the file.

    With *env*, a variable that is missing there is a warning. Raises ConfigError with every mistake at once.
    """
    found = yaml_document.parse(text)
    name = secret_patterns.covered(name)
    notes = Notes(list(found.mistakes))
    draft = None
    if found.root is not None:
        with contextlib.suppress(InvalidSetting):
            draft = SETTINGS(Setting(found.root, "", notes))
    if notes.mistakes or not isinstance(draft, _Draft):
        raise ConfigError(tuple(_line(name, note) for note in _bounded(notes.mistakes)))
    accounts = tuple(replace(account, place=f"{name}:{account.place}") for account in draft.config.accounts)
    warnings = tuple(
        _line(name, warning) for warning in sorted([*_warnings(draft, env), *_one_per_name(notes.warnings)])
    )
    places = {path: f"{name}:{place.line}:{place.column}" for path, place in yaml_document.places(found.root)}
    return replace(draft.config, accounts=accounts, warnings=warnings, places=places)


# -- the sections of the settings, and how each value is read ----------------------------------------------------------

_MAX_MISTAKES = 100
_INDEX = re.compile(r"\[\d+\]")  # of an item, in the path of a setting
_HARMLESS = "example-"  # the prefix of a literal credential that opens nothing


@dataclass(frozen=True, slots=True)
class _ProviderEntry:
    """A provider that accounts may name. *url* is None without a valid one; *stated*: one was written."""

    provider: Provider
    url: syntax.BaseUrl | None = None
    stated: bool = False


def _only(setting: Setting, values: dict[str, Any]) -> dict[str, Any]:
    return values


def _with_setting(setting: Setting, values: dict[str, Any]) -> tuple[Setting, dict[str, Any]]:
    return setting, values


def _filled(kind: Callable[..., Any]) -> Callable[[Setting, dict[str, Any]], Any]:
    return lambda _, values: kind(**values)


def _choice(kind: type, field: str) -> Read:
    """Make a reader of one of the texts that *field* of *kind* may hold."""
    return yaml_document.one_of(*(value for value in get_args(get_type_hints(kind)[field]) if value))


def _itself(setting: Setting) -> Setting:
    return setting


def _models(setting: Setting) -> Models:
    return Models(allow=syntax.allowed_models(setting))


STAMP = Section(
    {
        "headers": Named(syntax.header_template, syntax.header_name),
        "body": Named(syntax.template, syntax.member_name),
        "body_paths": syntax.endpoint_suffixes,
        "patchbay_headers": yaml_document.flag,
    },
    _only,
    renamed=RENAMED["stamp"],
)
_DEPTH = yaml_document.one_of(*get_args(Depth))
ECHO = Section(
    {
        "headers": Named(_DEPTH, syntax.echo_header),
        "body": Named(_DEPTH, syntax.member_name),
        "promised": yaml_document.flag,
    },
    _only,
)


def _echo(setting: Setting) -> dict[str, Any]:
    return {yaml_document.one_of("metadata")(setting): True}


def _error_rule(setting: Setting, values: dict[str, Any]) -> ErrorRule:
    if not {"status", "contains"} & setting.members().keys():
        raise setting.wrong("must say which errors it is about: status, contains, or both")
    if not {"outcome", "cooldown"} & setting.members().keys():
        raise setting.wrong("must say what they mean: outcome, cooldown, or both")
    return ErrorRule(**values)


def _timeouts(setting: Setting, values: dict[str, Any]) -> dict[str, Any]:
    return values | {f"whole_{name}": values[name] for name in ("first_byte", "idle") if name in values}


TIMEOUTS = Section(
    dict.fromkeys(("connect", "first_byte", "idle", "total"), syntax.duration_or_zero),
    _timeouts,
)
_KINDS = yaml_document.one_of(*(kind for kind in get_args(OutcomeKind) if kind != "ok"))
ERROR_RULE = Section(
    {"status": syntax.statuses, "contains": yaml_document.text, "outcome": _KINDS, "cooldown": yaml_document.seconds},
    _error_rule,
)
SERIALIZE = _choice(Provider, "serialize")
PROVIDER = Section(
    {
        "preset": yaml_document.one_of(*PRESETS),
        "base_url": syntax.base_url,
        "credential": syntax.CREDENTIAL,
        "stamp": STAMP,
        "echo": Either(_echo, ECHO),
        "timeouts": TIMEOUTS,
        "slots": yaml_document.whole(0, 10_000),
        "serialize": SERIALIZE,
        "error_rules": Each(ERROR_RULE),
        "model_ids": Named(syntax.model_id, syntax.shown_name),
        "attest": yaml_document.flag,
        "disabled_detectors": syntax.detectors,
        "families": syntax.families,
        "api_version": syntax.api_version,
        "pass_headers": syntax.passed_headers,
        "pass_query": syntax.passed_parameters,
        "paths": syntax.path_patterns,
    },
    _with_setting,
    renamed=RENAMED["providers"],
)
MODELS = Section(
    {
        "allow": syntax.allowed_models,
        "deny": syntax.patterns,
        "aliases": Named(syntax.shown_text, syntax.shown_name),
        "upstream_names": Named(syntax.shown_text, syntax.shown_name),
    },
    _filled(Models),
    renamed=RENAMED["models"],
)
ACCOUNT = Section(
    {
        "id": syntax.identifier,
        "provider": _itself,
        "base_url": syntax.base_url,
        "key": syntax.SECRET,
        "login": syntax.login_file,
        "enabled": yaml_document.flag,
        "weight": yaml_document.positive,
        "priority": yaml_document.whole(-1_000_000, 1_000_000),
        "group": syntax.identifier,
        "quota_group": syntax.identifier,
        "websockets": yaml_document.flag,
        "max_concurrent": yaml_document.whole(0, 1_000_000),
        "rpm": yaml_document.whole(0, 1_000_000_000),
        "tpm": yaml_document.whole(0, 1_000_000_000_000),
        "slots": yaml_document.whole(0, 10_000),
        "serialize": SERIALIZE,
        "trust_reset": _choice(Account, "trust_reset"),
        "error_rules": Each(ERROR_RULE),
        "models": Either(_models, MODELS),
        "headers": syntax.account_headers,
        "insecure_http": yaml_document.flag,
    },
    _with_setting,
    needs=("id", "provider"),
    renamed=RENAMED["accounts"],
)
CLIENT = Section(
    {
        "name": syntax.identifier,
        "key": syntax.SECRET,
        "may_pin": yaml_document.flag,
        "scope": syntax.identifier,
        "pools": syntax.at_least_one(yaml_document.one_of(*FAMILIES)),
        "providers": syntax.at_least_one(yaml_document.text),
        "models": syntax.at_least_one(yaml_document.text),
    },
    _with_setting,
    needs=("name", "key"),
)


def _sessions(setting: Setting, values: dict[str, Any]) -> SessionSettings:
    found = SessionSettings(**values)
    for name, tier in (("headers", "custom_header"), ("body", "custom_body")):
        if name in values and values[name] and tier not in found.order:
            setting.members()[name].note(f"has no effect without {tier} in sessions.order")
    return found


SESSIONS = Section(
    {
        "order": syntax.session_order,
        "ttl": yaml_document.seconds,
        "limit": yaml_document.whole(1, 1_000_000),
        "subagents": _choice(SessionSettings, "subagents"),
        "on_error": _choice(SessionSettings, "on_error"),
        "prompt_cache_ttl": yaml_document.seconds,
        "failback": _choice(SessionSettings, "failback"),
        "headers": syntax.signal_headers,
        "body": syntax.signal_members,
    },
    _sessions,
    renamed=RENAMED["sessions"],
)
FAILOVER = Section(
    {
        "attempts": yaml_document.whole(1, 100),
        "timeout": yaml_document.seconds,
        "hold_until_content": yaml_document.flag,
        "hold_timeout": yaml_document.seconds,
        "sticky_wait": syntax.duration_or_zero,
        "repeat_slow": _choice(FailoverSettings, "repeat_slow"),
        "encrypted_reasoning": _choice(FailoverSettings, "encrypted_reasoning"),
    },
    _filled(FailoverSettings),
    renamed=RENAMED["failover"],
)
CROSSTALK = Section(
    {
        "reaction": _choice(CrosstalkSettings, "reaction"),
        "incidents": yaml_document.whole(0, 100_000),
        "on_incident": syntax.command_words,
        "on_incident_interval": yaml_document.seconds,
    },
    _filled(CrosstalkSettings),
    renamed=RENAMED["crosstalk"],
)
QUEUE = Section(
    {
        "limit": yaml_document.whole(0, 1_000_000),
        "timeout": yaml_document.seconds,
        "preferred_wait": syntax.duration_or_zero,
    },
    _filled(QueueSettings),
    renamed=RENAMED["queue"],
)
JOURNAL = Section(
    {"path": syntax.file_path, "max_bytes": yaml_document.size, "keep": yaml_document.whole(0, 1000)},
    _filled(JournalSettings),
)
LIMITS = Section(
    {
        "body": yaml_document.size,
        "keep_streamed": yaml_document.size,
        "header_size": yaml_document.size,
        "header_count": yaml_document.whole(1, 10_000),
        "known_ids": yaml_document.whole(1000, 100_000_000),
    },
    _filled(LimitSettings),
    renamed=RENAMED["limits"],
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """The settings, and the places that warnings point at."""

    config: Config
    accounts: Setting
    keys: tuple[tuple[Setting, Secret], ...]  # of clients and enabled accounts, those of headers too


def _draft(setting: Setting, values: dict[str, Any]) -> _Draft:
    entries = _provider_entries(values.pop("providers", {}))
    members = setting.members()
    where = members.get("accounts", setting)
    if values.get("mode") != "shadow":  # shadow mode needs no account
        if "accounts" not in members:
            setting.note("accounts is missing")
        elif "accounts" in values and not where.items():
            where.note("must hold at least one account")
    read, clients = values.pop("accounts", ()), values.pop("clients", ())
    config = Config(accounts=tuple(_accounts(read, entries)), clients=tuple(_clients(clients)), **values)
    _check_signals(members.get("sessions"), config)
    used = [*clients, *(one for one in read if one[1].get("enabled", True))]
    return _Draft(config, where, tuple(found for each in used for found in _secrets(*each)))


def _check_signals(setting: Setting | None, config: Config) -> None:
    """Note a header of a signal in which a provider gets its key: its value is never read."""
    keys = {each.header.lower(): each.header for each in config.credential_headers}
    if setting is None or not keys.keys() & set(config.sessions.headers):
        return
    for item in setting.members()["headers"].items():
        if name := keys.get(item.scalar("a header").text.lower()):
            item.note(f"names no conversation: {name} carries a key, and its value is never read")


def _secrets(setting: Setting, values: Mapping[str, Any]) -> Iterator[tuple[Setting, Secret]]:
    if "key" in values:
        yield setting.members()["key"], values["key"]
    for own in values.get("headers", {}).values():
        if own.setting and own.secret:
            yield own.setting, own.secret


SETTINGS = Section(
    {
        "state": syntax.file_path,
        "store": syntax.store_url,
        "strategy": _choice(Config, "strategy"),
        "sessions": SESSIONS,
        "failover": FAILOVER,
        "journal": JOURNAL,
        "crosstalk": CROSSTALK,
        "limits": LIMITS,
        "queue": QUEUE,
        "other_traffic": _choice(Config, "other_traffic"),
        "mode": _choice(Config, "mode"),
        "grace_period": syntax.duration_or_zero,
        "allowed_hosts": Each(syntax.allowed_host),
        "allowed_origins": Each(syntax.allowed_origin),
        "clients": Each(CLIENT),
        "providers": Named(PROVIDER, syntax.entry_name),
        "accounts": Each(ACCOUNT),
    },
    _draft,
    renamed=RENAMED[""],
    extensions="x-",  # a place for anchors
)


# -- what settings mean together --------------------------------------------------------------------------------------

_Values = tuple[Setting, dict[str, Any]]


def _provider_entries(written: Mapping[str, _Values]) -> dict[str, _ProviderEntry | None]:
    """Return every provider by name; None for an entry with mistakes."""
    presets = {name: _entry_of_preset(preset) for name, preset in PRESETS.items()}
    return presets | {name: _provider_entry(name, *entry) for name, entry in written.items()}


def _entry_of_preset(preset: Provider) -> _ProviderEntry:
    url = syntax.BaseUrl.of(preset.base_url) if preset.base_url else None
    return _ProviderEntry(preset, url, stated=url is not None)


_MERGED = ("preset", "base_url", "stamp", "echo", "timeouts", "error_rules")  # into the preset's


def _provider_entry(name: str, setting: Setting, values: dict[str, Any]) -> _ProviderEntry | None:
    stated = setting.members()
    preset = values.get("preset", name if "preset" not in stated else "")
    if preset not in PRESETS:
        if "preset" not in stated:
            setting.note(f"preset is missing: one of {', '.join(PRESETS)}")
        return None
    base = _entry_of_preset(PRESETS[preset])
    url = values.get("base_url", base.url)
    provider = replace(
        base.provider,
        name=name,
        base_url=url.text if url else "",
        stamp=replace(base.provider.stamp, **values.get("stamp", {})),
        echo=_echo_of(base.provider.echo, values.get("echo", {})),
        timeouts=replace(base.provider.timeouts, **values.get("timeouts", {})),
        error_rules=tuple(values.get("error_rules", ())) + base.provider.error_rules,
        **{key: value for key, value in values.items() if key not in _MERGED},
    )
    _check_header_of_key(setting, provider)
    return _ProviderEntry(provider, url, stated="base_url" in stated or base.stated)


def _echo_of(preset: Echo, stated: dict[str, Any]) -> Echo:
    return (
        replace(preset, body={**preset.body, METADATA: "body"}) if "metadata" in stated else replace(preset, **stated)
    )


def _check_header_of_key(setting: Setting, provider: Provider) -> None:
    """Note a setting of *provider* that sends another value in the header of its key."""
    if not isinstance(provider.credential, CredentialHeader):
        return
    members, name = setting.members(), provider.credential.header
    if name.lower() in provider.pass_headers:
        members.get("pass_headers", setting).note(f"{name} must not pass: it carries the account's own credential")
    if name.lower() in {stamped.lower() for stamped in provider.stamp.headers}:
        members.get("stamp", setting).note(f"{name} must not be stamped: it carries the account's own credential")


def _accounts(read: Iterable[_Values], entries: Mapping[str, _ProviderEntry | None]) -> Iterator[Account]:
    taken: dict[str, int] = {}
    for setting, values in read:
        _check_unique(setting, "id", values, taken)
        with contextlib.suppress(InvalidSetting):
            yield _account(setting, values, entries)


def _account(setting: Setting, values: dict[str, Any], entries: Mapping[str, _ProviderEntry | None]) -> Account:
    stated = setting.members()
    _check_key(setting, stated, _login_named(values, entries))
    if "provider" not in values:
        raise InvalidSetting
    entry = _entry_named(values["provider"], entries)
    url = values.get("base_url", entry.url)
    if url is None or ("base_url" in stated and "base_url" not in values):
        if "base_url" not in stated and not entry.stated:
            setting.note(f"base_url is missing: '{entry.provider.name}' has no default")
        raise InvalidSetting
    where = stated.get("base_url", setting)
    plain = url.origin and url.origin.scheme == "http" and not is_loopback(url.origin.host)
    if plain and not values.get("insecure_http"):
        raise where.wrong("must be https: no key goes over plain http beyond this machine (see insecure_http)")
    provider = entry.provider
    if provider.login and "key" not in stated:
        values = {**values, **_of_login(provider.login, values)}
    if not {"id", "key"} <= values.keys():
        raise InvalidSetting
    bounds = {"slots": provider.slots, "serialize": provider.serialize}
    rules = tuple(values.pop("error_rules", ())) + provider.error_rules
    own = values.get("headers", {})
    if (key := provider.credential) and isinstance(key, CredentialHeader):
        for name, header in own.items():
            if name.lower() == key.header.lower() and header.setting:
                header.setting.note("must not be set here: the credential comes from key: only")
    return Account(
        provider=entry.provider,
        secret=values["key"],
        origin=url.origin,
        base_path=url.path,
        place=f"{setting.place.line}:{setting.place.column}",
        error_rules=rules,
        headers={name: header.text for name, header in own.items() if not header.secret},
        secret_headers=tuple(
            SecretHeader(name, header.secret, header.scheme) for name, header in own.items() if header.secret
        ),
        **bounds | {name: value for name, value in values.items() if name not in _CONVERTED},
    )


_CONVERTED = ("provider", "base_url", "key", "headers", "login")


def _of_login(login: LoginFile, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key and the headers of an account that is the *login* of a tool; those of the settings stay."""
    path, own = values.get("login", login.path), values.get("headers", {})
    stated = {name.lower() for name in own}
    headers = {
        name: syntax.AccountHeader(None, secret=Secret("file", path, pointer, tool=login.tool))
        for name, pointer in login.headers.items()
        if name.lower() not in stated
    }
    return {"key": Secret("file", path, login.key, tool=login.tool), "headers": {**own, **headers}}


def _login_named(values: Mapping[str, Any], entries: Mapping[str, _ProviderEntry | None]) -> LoginFile | None:
    named = values["provider"].node if "provider" in values else None
    entry = entries.get(named.text) if isinstance(named, Scalar) else None
    return entry.provider.login if entry else None


def _check_key(setting: Setting, stated: Mapping[str, Setting], login: LoginFile | None) -> None:
    """Note an account without a key, and a `login` that is not used."""
    if "login" in stated and "key" in stated:
        stated["login"].note("stands beside key: an account has one of them")
    elif "login" in stated and not login:
        names = ", ".join(name for name, preset in PRESETS.items() if preset.login)
        stated["login"].note(f"is for the presets {names}; other providers have a key:")
    elif "key" not in stated and not login:
        setting.note("key is missing")


def _entry_named(setting: Setting, entries: Mapping[str, _ProviderEntry | None]) -> _ProviderEntry:
    name = yaml_document.text(setting)
    if name not in entries:
        hint = yaml_document.suggestion(name, entries) or f"; there are {', '.join(entries)}"
        raise setting.wrong(f"{setting.described()} is not a provider{hint}")
    if (found := entries[name]) is None:
        raise InvalidSetting
    return found


def _clients(read: Iterable[_Values]) -> Iterator[ClientKey]:
    taken: dict[str, int] = {}
    keys: dict[Secret, str] = {}
    for setting, values in read:
        _check_unique(setting, "name", values, taken)
        if {"name", "key"} <= values.keys():
            if (first := keys.setdefault(values["key"], values["name"])) != values["name"]:
                setting.members()["key"].note(f"the clients {first} and {values['name']} have the same key")
            rights = {name: value for name, value in values.items() if name not in ("name", "key")}
            yield ClientKey(values["name"], values["key"], **rights)


def _check_unique(setting: Setting, key: str, values: Mapping[str, Any], taken: dict[str, int]) -> None:
    if (name := values.get(key)) is None:
        return
    here = setting.members()[key]
    if name in taken:
        here.note(f"'{name}' is already used on line {taken[name]}")
    taken.setdefault(name, here.place.line)


# -- messages ---------------------------------------------------------------------------------------------------------


def _line(name: str, note: Mistake) -> str:
    path = f"{note.path}: " if note.path else ""
    return f"{name}:{note.place.line}:{note.place.column}: " + secret_patterns.covered(path + note.message)


def _bounded(notes: list[Mistake]) -> list[Mistake]:
    ordered = sorted(set(notes))
    more = len(ordered) - _MAX_MISTAKES
    if more <= 0:
        return ordered
    last = ordered[_MAX_MISTAKES - 1]
    return [*ordered[:_MAX_MISTAKES], Mistake(last.place, "", f"and {more} more")]


def _one_per_name(warnings: list[Mistake]) -> Iterator[Mistake]:
    """Yield one warning for each former name, at its first place."""
    found: dict[str, set[Mistake]] = {}
    for warning in warnings:
        found.setdefault(_INDEX.sub("[]", warning.path), set()).add(warning)
    for same in found.values():
        first = min(same)
        more = f" ({len(same)} places)" if len(same) > 1 else ""
        yield replace(first, message=first.message + more)


def _warnings(draft: _Draft, env: Mapping[str, str] | None) -> Iterator[Mistake]:
    for setting, secret in draft.keys:
        if secret.source == "literal" and not secret.value.startswith(_HARMLESS):
            yield _warning(setting, "is stored here in plain text; env:, file: or {cmd: […]} keep it out of this file")
        if secret.source == "env" and env is not None and not env.get(secret.value):
            yield _warning(setting, f"the environment variable {secret.value} is not set")
    for at, account in enumerate(draft.config.accounts):
        if account.insecure_http and account.enabled and account.origin and account.origin.scheme == "http":
            setting = draft.accounts.items()[at]
            yield _warning(
                setting, f"its key goes over plain http to {account.origin.host}, readable by others on the network"
            )
    if draft.config.mode == "serve" and not any(account.enabled for account in draft.config.accounts):
        yield _warning(draft.accounts, "no account is enabled, so every request will be refused")


def _warning(setting: Setting, message: str) -> Mistake:
    return Mistake(setting.place, setting.path, message)
