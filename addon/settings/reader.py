"""Read the settings from YAML: every mistake at once, each with its place."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args
from urllib.parse import urlsplit

from .. import secret_patterns
from ..dialects import FAMILIES
from ..values.account import (
    Account,
    CredentialForm,
    Depth,
    ErrorRule,
    Models,
    OutcomeKind,
    Provider,
    Secret,
    SecretHeader,
    Serialize,
)
from ..values.http import Origin, is_loopback
from . import yaml_document
from .presets import DETECTORS, PRESETS
from .settings import (
    TIERS,
    ClientKey,
    Config,
    Crosstalk,
    Failover,
    JournalSettings,
    Limits,
    Queue,
    RepeatSlow,
    Sessions,
    Strategy,
)
from .yaml_document import Document, Each, Either, Mistake, Named, Part, Scalar, Section, Unusable


class ConfigError(ValueError):
    """The settings cannot be used. *mistakes* are all of them, each with its place; so is the text, one a line."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load(text: str | bytes, name: str, *, env: Mapping[str, str] | None = None) -> Config:
    """
    Read settings from YAML *text*; *name* is what messages call the file.

    With *env*, what is missing there is a warning. Raises ConfigError with every mistake at once.
    """
    return parse(yaml_document.parse(text), name, env=env)


def parse(found: Document, name: str, *, env: Mapping[str, str] | None = None) -> Config:
    """Read settings from a document. See `load`."""
    name = secret_patterns.covered(name)
    notes = list(found.mistakes)
    draft = None
    if found.root is not None:
        with contextlib.suppress(Unusable):
            draft = SETTINGS(Part(found.root, "", notes))
    if notes or not isinstance(draft, _Draft):
        raise ConfigError(tuple(_line(name, note) for note in _bounded(notes)))
    accounts = tuple(replace(account, place=f"{name}:{account.place}") for account in draft.config.accounts)
    warnings = tuple(_line(name, warning) for warning in sorted(_warnings(draft, env)))
    places = {path: f"{name}:{place.line}:{place.column}" for path, place in yaml_document.places(found.root)}
    return replace(draft.config, accounts=accounts, warnings=warnings, places=places)


# -- the settings a user may write, and how each is read --------------------------------------------------------------

_MAX_MISTAKES = 100
_HARMLESS = "example-"  # a literal credential that begins so opens nothing
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIKE_A_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|os\.environ/\w+|\{env:\w+\}")
_CREDENTIAL = re.compile(r"[!-~]+")  # visible ASCII: anything else cannot stand in a header, or ends it
_POINTER = re.compile(r"(?:/(?:[^~]|~[01])*)+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MEMBER = re.compile(r"[^.\s]{1,128}(?:\.[^.\s]{1,128})?")
_FIELD = re.compile(r"\{(\w+)\}")
_FIELDS = ("request_id", "request_guid", "session_id", "model_id", "thread_id")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_ALLOWED_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_.-]{1,253}|\[[0-9a-f:.]+\]|[0-9a-f]*:[0-9a-f:.]+")
_ALLOWED_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@\\]+")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_PORTS = {"http": 80, "https": 443}
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,63}")
_ENDPOINT = re.compile(r"(?:/[a-z_]{1,64}){1,8}")
_CREDENTIAL_HEADERS = frozenset(
    "authorization proxy-authorization x-api-key api-key x-goog-api-key cookie set-cookie".split()
)
_PROXY_HEADERS = frozenset(
    "host content-length content-type content-encoding transfer-encoding accept-encoding connection keep-alive"
    " proxy-connection te trailer upgrade expect".split()
)


@dataclass(frozen=True, slots=True)
class _Url:
    """A base URL that was read: *origin* is None for `reverse`."""

    text: str
    origin: Origin | None
    path: str


@dataclass(frozen=True, slots=True)
class _Offer:
    """A provider that accounts may name. *url* is None when none is stated, or a wrong one."""

    provider: Provider
    url: _Url | None = None
    stated: bool = False


def _only(part: Part, values: dict[str, Any]) -> dict[str, Any]:
    return values


def _with_part(part: Part, values: dict[str, Any]) -> tuple[Part, dict[str, Any]]:
    return part, values


def _filled(kind: Callable[..., Any]) -> Callable[[Part, dict[str, Any]], Any]:
    return lambda _, values: kind(**values)


def _itself(part: Part) -> Part:
    return part


def _id(part: Part) -> str:
    found = yaml_document.text(part)
    if not _ID.fullmatch(found):
        raise part.wrong(f"must be 1 to 64 letters, digits, '.', '_' or '-', is {part.said()}")
    return _no_key(part, found, secret_patterns.may_be_key)


def _name(part: Part, name: str) -> str:
    if not _ID.fullmatch(name):
        raise part.wrong("a name must be 1 to 64 letters, digits, '.', '_' or '-'")
    return _no_key(part, name, secret_patterns.may_be_key)


def _no_key(part: Part, found: str, looks: Callable[[str], bool] = secret_patterns.is_key) -> str:
    """Return *found*, which logs, headers and requests will show, or refuse what *looks* like a key."""
    if looks(found):
        raise part.wrong("looks like a key, and what stands here is shown; a key belongs under key:")
    return found


def _shown_text(part: Part) -> str:
    return _no_key(part, yaml_document.text(part))


def _shown_name(part: Part, name: str) -> str:
    return _no_key(part, name)


def _file_path(part: Part) -> str:
    """Read the path of a file of ours. A key has no slash in it, as a rule; a path may look like anything."""
    found = yaml_document.text(part)
    return found if "/" in found else _no_key(part, found, secret_patterns.may_be_key)


# Secrets: no message of this part may quote what stands there.


def _secret_text(part: Part) -> Secret:
    found = part.scalar("a credential: env:NAME, file:PATH, {cmd: [program, argument]} or the key itself").text
    return _secret(part, found.strip())


def _secret(part: Part, found: str) -> Secret:
    source, colon, rest = found.partition(":")
    match source if colon else "":
        case "env":
            return _of_env(part, rest.strip())
        case "file":
            return _of_file(part, rest.strip())
        case "cmd":
            raise part.wrong("must be written as {cmd: [program, argument]}")
        case _:
            return _literal(part, found)


def _of_env(part: Part, name: str) -> Secret:
    if not _VARIABLE.fullmatch(name):
        raise part.wrong("env: must name an environment variable, as in env:OPENAI_API_KEY")
    if secret_patterns.is_key(name):
        raise part.wrong("env: is followed by what looks like a key; a key itself stands there without env:")
    return Secret("env", name)


def _of_file(part: Part, rest: str) -> Secret:
    path, mark, pointer = rest.partition("#")
    if not path or not path.isprintable():
        raise part.wrong("file: must name a file, as in file:~/.config/patchbay/key")
    if "/" not in path and secret_patterns.may_be_key(path):
        raise part.wrong("file: is followed by what looks like a key; a key itself stands there without file:")
    if mark and not _POINTER.fullmatch(pointer):
        raise part.wrong("what stands after # must be a JSON pointer such as #/tokens/access_token")
    return Secret("file", path, pointer)


def _literal(part: Part, found: str) -> Secret:
    if not found:
        raise part.wrong("must be a credential, is empty")
    if _LIKE_A_VARIABLE.fullmatch(found):
        raise part.wrong("variables are written env:NAME")
    if len(found) > 1 and found[0] == found[-1] and found[0] in "'\"`":
        raise part.wrong("must be the key alone: it stands in quotes within the quotes of YAML")
    if any(c.isspace() for c in found):
        raise part.wrong("must be the key alone: it holds a space or a line break")
    if not _CREDENTIAL.fullmatch(found):
        raise part.wrong("must be visible ASCII characters only")
    return Secret("literal", found)


def _argv(part: Part) -> tuple[str, ...]:
    if isinstance(part.node, Scalar):
        raise part.wrong("must be a list of words, as in [op, read, 'op://…']; no shell runs it")
    words = [item.scalar("a word of the command").text for item in part.items()]
    if not words or not words[0].strip():
        raise part.wrong("must name a program")
    if any("\0" in word for word in words):
        raise part.wrong("must not hold a NUL character")
    if secret_patterns.is_key(words[0]):
        raise part.wrong("must name a program first; this looks like a key")
    return tuple(words)


def _command(part: Part, values: dict[str, Any]) -> Secret:
    if "cmd" not in values:
        raise Unusable
    return Secret("cmd", argv=values["cmd"], **{name: values[name] for name in ("ttl", "timeout") if name in values})


_STORES = "memory, sqlite, sqlite:///PATH, redis://HOST:PORT/NUMBER, rediss://… or env:NAME"


def _store(part: Part) -> str:
    found = _stated_store(part)
    where = (urlsplit(found).hostname or "") if found.startswith("redis") else found.partition(":///")[2]
    if "/" not in where:  # what follows is shown, where the store cannot be used; a password is not
        _no_key(part, where)
    return found


def _stated_store(part: Part) -> str:
    found = yaml_document.text(part)
    scheme, colon, rest = found.partition(":")
    match scheme:
        case "memory" | "sqlite" if not colon:
            return found
        case "sqlite" if rest.startswith("///") and len(rest) > len("///"):
            return found
        case "redis" | "rediss" if _names_a_host(found):
            return found
        case "env" if _VARIABLE.fullmatch(rest):
            return found
    raise part.wrong(f"must be one of {_STORES}")  # what stands there may hold a password


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Headers, templates, URLs


def _header_name(part: Part, name: str) -> str:
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        raise part.wrong("is no name of a header")
    if lower in _CREDENTIAL_HEADERS:
        raise part.wrong("must not be set here: a credential comes from key: alone")
    if lower in _PROXY_HEADERS:
        raise part.wrong("must not be set here: it belongs to the connection or the body")
    if lower.startswith("x-patchbay-"):
        raise part.wrong("must not be set here: X-Patchbay-* is Patchbay's own")
    return _no_key(part, name, secret_patterns.may_be_key)


def _echo_name(part: Part, name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise part.wrong("is no name of a header")
    return _no_key(part, name.lower(), secret_patterns.may_be_key)


def _passed_name(part: Part) -> str:
    name = yaml_document.text(part).lower()
    if not _HEADER_NAME.fullmatch(name):
        raise part.wrong("is no name of a header")
    if name in _CREDENTIAL_HEADERS - {"cookie"}:
        raise part.wrong("must not pass: the account's own credential stands there")
    if name in _PROXY_HEADERS or name.startswith("x-patchbay-"):
        raise part.wrong("must not pass: it belongs to the connection, to the body or to Patchbay")
    return _no_key(part, name, secret_patterns.may_be_key)


def _passed_query(part: Part) -> frozenset[str]:
    return frozenset(Each(_shown_text)(part))


def _passed(part: Part) -> frozenset[str]:
    return frozenset(Each(_passed_name)(part))


def _header_value(part: Part) -> str:
    found = part.scalar("the value of a header").text
    if not _HEADER_VALUE.fullmatch(found):
        raise part.wrong("must be one line of visible ASCII characters")
    return found


def _model_id(part: Part) -> str:
    return _no_key(part, _header_value(part))


@dataclass(frozen=True, slots=True)
class _OwnHeader:
    """The value of an account's header as it was read: text, or a credential with what stands before it."""

    part: Part
    text: str = field(default="", repr=False)
    secret: Secret | None = None
    scheme: str = ""


_SOURCE = re.compile(r"(?:env|file|cmd):")
_OF_SOURCE = re.compile(r"(?P<scheme>(?:[!-~]+ +)?)(?P<source>(?:env|file|cmd):.*)")


def _own_header(part: Part) -> _OwnHeader:
    found = _header_value(part)
    if named := _OF_SOURCE.fullmatch(found):
        return _OwnHeader(part, secret=_secret(part, named["source"]), scheme=named["scheme"])
    return _as_credential(part, found) if secret_patterns.is_key(found) else _OwnHeader(part, found)


def _as_credential(part: Part, found: str) -> _OwnHeader:
    scheme, blank, value = found.rpartition(" ")
    return _OwnHeader(part, secret=_literal(part, value), scheme=scheme + blank)


def _own_command(part: Part, values: dict[str, Any]) -> _OwnHeader:
    return _OwnHeader(part, secret=_command(part, values))


def _own_headers(part: Part) -> dict[str, _OwnHeader]:
    """Read the headers of an account. What their names or values tell to be a credential is kept as one."""
    found = Named(Either(_own_header, replace(COMMAND, make=_own_command)), _header_name)(part)
    named = {name for name, own in found.items() if secret_patterns.names_key(name) and not own.secret}
    return {name: _as_credential(own.part, own.text) if name in named else own for name, own in found.items()}


def _member_name(part: Part, name: str) -> str:
    if not _MEMBER.fullmatch(name):
        raise part.wrong("must name a member of the body: name, or outer.inner")
    return _no_key(part, name)


def _header_template(part: Part) -> str:
    _header_value(part)
    return _template(part)


def _template(part: Part) -> str:
    found = yaml_document.text(part)
    if secret_patterns.is_key(found) or _SOURCE.match(found):
        raise part.wrong("must not be a credential; one belongs among the headers of an account")
    for name in _FIELD.findall(found):
        if name not in _FIELDS:
            known = ", ".join(f"{{{field}}}" for field in _FIELDS)
            raise part.wrong(f"{{{yaml_document.shown(name)}}} is none of {known}{yaml_document.meant(name, _FIELDS)}")
    return found


def _url(part: Part) -> _Url:
    found = yaml_document.text(part)
    if found == "reverse":
        return _Url(found, None, "")
    scheme, separator, _ = found.partition("://")
    if not separator or scheme.lower() not in _PORTS:
        said = "" if "@" in found or "?" in found else f", is {part.said()}"
        raise part.wrong(f"must begin with https:// or http://, or be 'reverse'{said}")
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise part.wrong("must be a URL such as https://api.openai.com/v1") from None
    _check_url(part, found, parts.netloc, parts.hostname or "", port)
    _check_path(part, parts.path)
    _no_key(part, parts.hostname or "", secret_patterns.is_no_host)
    _no_key(part, parts.path)
    host = _compressed(parts.hostname or "")
    origin = Origin(parts.scheme, host, port or _PORTS[parts.scheme])
    return _Url(found, origin, parts.path.rstrip("/"))


def _check_url(part: Part, found: str, netloc: str, host: str, port: int | None) -> None:
    if "@" in netloc:
        raise part.wrong("must not hold a user name or password")
    if "?" in found or "#" in found:
        raise part.wrong("must not hold a query or a fragment (? or #)")
    if not (_HOST.fullmatch(host) or _is_address(host)):
        raise part.wrong("must name a host in plain ASCII letters (or an address), without blanks")
    if port == 0:
        raise part.wrong("must name a port from 1 to 65535")


def _check_path(part: Part, path: str) -> None:
    if not _PATH.fullmatch(path) or "//" in path or {".", ".."} & set(path.split("/")):
        raise part.wrong("must have a plain path: no blanks, no //, no . or .. between slashes")


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _compressed(host: str) -> str:
    return str(ipaddress.ip_address(host)) if ":" in host else host


def _host(part: Part) -> str:
    found = yaml_document.text(part).lower()
    if not _ALLOWED_HOST.fullmatch(found):
        raise part.wrong(f"must be a host's name or address without a port, such as box.lan or *.lan, is {part.said()}")
    return found.strip("[]")


def _page(part: Part) -> str:
    found = yaml_document.text(part).lower()
    if not _ALLOWED_ORIGIN.fullmatch(found):
        raise part.wrong(f"must be an origin such as http://localhost:3000, is {part.said()}")
    return found


# Lists


def _order(part: Part) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in part.items():
        try:
            tier = yaml_document.one_of(*TIERS)(item)
        except Unusable:
            continue
        if tier in found:
            item.note(f"'{tier}' stands here twice")
        found[tier] = None
    return tuple(found)


def _families(part: Part) -> frozenset[str]:
    if not part.items():
        raise part.wrong(f"must name one at least of {', '.join(FAMILIES)}")
    return frozenset(Each(yaml_document.one_of(*FAMILIES))(part))


def _endpoints(part: Part) -> frozenset[str]:
    return frozenset(Each(_endpoint)(part))


def _endpoint(part: Part) -> str:
    if not _ENDPOINT.fullmatch(found := yaml_document.text(part)):
        raise part.wrong(f"must be the end of a path, as in /chat/completions, is {part.said()}")
    return found


def _paths(part: Part) -> tuple[str, ...]:
    return tuple(Each(_path_pattern)(part))


def _path_pattern(part: Part) -> str:
    found = yaml_document.text(part)
    if found != "*" and not (found.startswith("/") and _PATH.fullmatch(found)):
        raise part.wrong(f"must be a path such as /v1/assistants, or '*' for all of them, is {part.said()}")
    return found


def _version(part: Part) -> str:
    if not _VERSION.fullmatch(found := yaml_document.text(part)):
        raise part.wrong(f"must be a version such as 2024-10-21, is {part.said()}")
    return _no_key(part, found, secret_patterns.may_be_key)


def _patterns(part: Part) -> tuple[str, ...]:
    return tuple(Each(_shown_text)(part))


def _allowed(part: Part) -> tuple[str, ...]:
    if not part.items():
        raise part.wrong("must name a model at least; '*' allows all of them")
    return _patterns(part)


def _granted(inner: Callable[[Part], str]) -> Callable[[Part], tuple[str, ...]]:
    def read(part: Part) -> tuple[str, ...]:
        if not part.items():
            raise part.wrong("must name one at least; leave it out to allow all of them")
        return tuple(Each(inner)(part))

    return read


def _models(part: Part) -> Models:
    return Models(allow=_allowed(part))


# Sections

COMMAND = Section(
    {"cmd": _argv, "ttl": yaml_document.seconds, "timeout": yaml_document.seconds},
    _command,
    needs=("cmd",),
)
SECRET = Either(_secret_text, COMMAND)
STAMP = Section(
    {
        "headers": Named(_header_template, _header_name),
        "body": Named(_template, _member_name),
        "body_at": _endpoints,
        "namespace": yaml_document.flag,
    },
    _only,
)
_DEPTH = yaml_document.one_of(*get_args(Depth))
ECHO = Section(
    {"headers": Named(_DEPTH, _echo_name), "body": Named(_DEPTH, _member_name), "promised": yaml_document.flag},
    _only,
)


def _detectors(part: Part) -> tuple[str, ...]:
    return tuple(Each(yaml_document.one_of(*DETECTORS))(part))


def _statuses(part: Part) -> frozenset[int]:
    read = yaml_document.whole(100, 599)
    return frozenset([read(part)] if isinstance(part.node, Scalar) else Each(read)(part))


def _error_rule(part: Part, values: dict[str, Any]) -> ErrorRule:
    if not {"status", "contains"} & part.members().keys():
        raise part.wrong("must say which errors it is about: status, contains, or both")
    if not {"outcome", "cooldown"} & part.members().keys():
        raise part.wrong("must say what they mean: outcome, cooldown, or both")
    return ErrorRule(**values)


def _patience(part: Part) -> float:
    return 0.0 if part.scalar("a duration").text in ("0", "0s") else yaml_document.seconds(part)


def _timeouts(part: Part, values: dict[str, Any]) -> dict[str, Any]:
    return values | {f"whole_{name}": values[name] for name in ("first_byte", "idle") if name in values}


TIMEOUTS = Section(
    dict.fromkeys(("connect", "first_byte", "idle", "total"), _patience),
    _timeouts,
)
_KINDS = yaml_document.one_of(*(kind for kind in get_args(OutcomeKind) if kind != "ok"))
ERROR_RULE = Section(
    {"status": _statuses, "contains": yaml_document.text, "outcome": _KINDS, "cooldown": yaml_document.seconds},
    _error_rule,
)
SERIALIZE = yaml_document.one_of(*get_args(Serialize))
PROVIDER = Section(
    {
        "preset": yaml_document.one_of(*PRESETS),
        "base_url": _url,
        "credential": yaml_document.one_of(*get_args(CredentialForm)),
        "stamp": STAMP,
        "echo": ECHO,
        "timeouts": TIMEOUTS,
        "slots": yaml_document.whole(0, 10_000),
        "serialize": SERIALIZE,
        "error_rules": Each(ERROR_RULE),
        "model_ids": Named(_model_id, _shown_name),
        "silent": _detectors,
        "families": _families,
        "api_version": _version,
        "pass_headers": _passed,
        "pass_query": _passed_query,
        "paths": _paths,
    },
    _with_part,
)
MODELS = Section(
    {
        "allow": _allowed,
        "deny": _patterns,
        "aliases": Named(_shown_text, _shown_name),
        "names": Named(_shown_text, _shown_name),
    },
    _filled(Models),
)
ACCOUNT = Section(
    {
        "id": _id,
        "provider": _itself,
        "base_url": _url,
        "key": SECRET,
        "enabled": yaml_document.flag,
        "weight": yaml_document.positive,
        "priority": yaml_document.whole(-1_000_000, 1_000_000),
        "group": _id,
        "quota": _id,
        "websockets": yaml_document.flag,
        "max_concurrent": yaml_document.whole(0, 1_000_000),
        "rpm": yaml_document.whole(0, 1_000_000_000),
        "tpm": yaml_document.whole(0, 1_000_000_000_000),
        "slots": yaml_document.whole(0, 10_000),
        "serialize": SERIALIZE,
        "trust_reset": yaml_document.one_of("verify", "strict"),
        "error_rules": Each(ERROR_RULE),
        "models": Either(_models, MODELS),
        "headers": _own_headers,
        "insecure_http": yaml_document.flag,
    },
    _with_part,
    needs=("id", "provider", "key"),
)
CLIENT = Section(
    {
        "name": _id,
        "key": SECRET,
        "may_pin": yaml_document.flag,
        "scope": _id,
        "pools": _granted(yaml_document.one_of(*FAMILIES)),
        "providers": _granted(yaml_document.text),
        "models": _granted(yaml_document.text),
    },
    _with_part,
    needs=("name", "key"),
)
SESSIONS = Section(
    {
        "order": _order,
        "ttl": yaml_document.seconds,
        "limit": yaml_document.whole(1, 1_000_000),
        "subagents": yaml_document.one_of("share", "isolate"),
        "on_error": yaml_document.one_of("keep", "clear"),
        "cache_ttl": yaml_document.seconds,
        "failback": yaml_document.one_of("idle", "never"),
    },
    _filled(Sessions),
)
FAILOVER = Section(
    {
        "attempts": yaml_document.whole(1, 100),
        "seconds": yaml_document.seconds,
        "hold": yaml_document.flag,
        "hold_seconds": yaml_document.seconds,
        "patience": _patience,
        "repeat_slow": yaml_document.one_of(*get_args(RepeatSlow)),
        "owner": yaml_document.one_of("refuse", "try", "strip"),
    },
    _filled(Failover),
)
CROSSTALK = Section(
    {
        "reaction": yaml_document.one_of("observe", "block", "retry"),
        "incidents": yaml_document.whole(0, 100_000),
        "on_incident": _argv,
        "every": yaml_document.seconds,
    },
    _filled(Crosstalk),
)
QUEUE = Section(
    {"limit": yaml_document.whole(0, 1_000_000), "seconds": yaml_document.seconds, "patience": _patience},
    _filled(Queue),
)
JOURNAL = Section(
    {"path": _file_path, "max_bytes": yaml_document.size, "keep": yaml_document.whole(0, 1000)},
    _filled(JournalSettings),
)
LIMITS = Section(
    {
        "body": yaml_document.size,
        "keep_streamed": yaml_document.size,
        "head": yaml_document.size,
        "headers": yaml_document.whole(1, 10_000),
        "remembered": yaml_document.whole(1000, 100_000_000),
    },
    _filled(Limits),
)


@dataclass(frozen=True, slots=True)
class _Draft:
    """The settings, and the parts they came from, which warnings point at."""

    config: Config
    accounts: Part
    keys: tuple[tuple[Part, Secret], ...]  # those that are used, of headers too


def _draft(part: Part, values: dict[str, Any]) -> _Draft:
    offers = _offers(values.pop("providers", {}))
    members = part.members()
    where = members.get("accounts", part)
    if values.get("mode") != "shadow":  # who only looks on needs no account
        if "accounts" not in members:
            part.note("accounts is missing")
        elif "accounts" in values and not where.items():
            where.note("must hold an account at least")
    read, clients = values.pop("accounts", ()), values.pop("clients", ())
    config = Config(accounts=tuple(_accounts(read, offers)), clients=tuple(_clients(clients)), **values)
    used = [*clients, *(one for one in read if one[1].get("enabled", True))]
    return _Draft(config, where, tuple(found for each in used for found in _secrets(*each)))


def _secrets(part: Part, values: Mapping[str, Any]) -> Iterator[tuple[Part, Secret]]:
    if "key" in values:
        yield part.members()["key"], values["key"]
    for own in values.get("headers", {}).values():
        if own.secret:
            yield own.part, own.secret


SETTINGS = Section(
    {
        "state": _file_path,
        "store": _store,
        "strategy": yaml_document.one_of(*get_args(Strategy)),
        "sessions": SESSIONS,
        "failover": FAILOVER,
        "journal": JOURNAL,
        "crosstalk": CROSSTALK,
        "limits": LIMITS,
        "queue": QUEUE,
        "other": yaml_document.one_of("pass", "refuse"),
        "mode": yaml_document.one_of("serve", "shadow"),
        "grace": _patience,
        "allowed_hosts": Each(_host),
        "allowed_origins": Each(_page),
        "clients": Each(CLIENT),
        "providers": Named(PROVIDER, _name),
        "accounts": Each(ACCOUNT),
    },
    _draft,
    extensions="x-",  # a place for what is used below by an anchor
)


# -- what parts mean together -----------------------------------------------------------------------------------------

_Read = tuple[Part, dict[str, Any]]


def _offers(entries: Mapping[str, _Read]) -> dict[str, _Offer | None]:
    """Return every provider by name. None stands for an entry whose mistakes have been noted."""
    offers: dict[str, _Offer | None] = {name: _offer_of(preset) for name, preset in PRESETS.items()}
    for name, (part, values) in entries.items():
        offers[name] = _offer(name, part, values)
    return offers


def _offer_of(preset: Provider) -> _Offer:
    if not preset.base_url:
        return _Offer(preset)
    parts = urlsplit(preset.base_url)
    origin = Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    return _Offer(preset, _Url(preset.base_url, origin, parts.path.rstrip("/")), stated=True)


_TAKEN_OVER = (
    "credential", "model_ids", "silent", "families", "api_version", "slots", "serialize", "pass_headers",
    "pass_query", "paths",
)  # fmt: skip


def _offer(name: str, part: Part, values: dict[str, Any]) -> _Offer | None:
    stated = part.members()
    preset = values.get("preset", name if "preset" not in stated else "")
    if preset not in PRESETS:
        if "preset" not in stated:
            part.note(f"preset is missing: one of {', '.join(PRESETS)}")
        return None
    base = _offer_of(PRESETS[preset])
    url = values.get("base_url", base.url)
    provider = replace(
        base.provider,
        name=name,
        base_url=url.text if url else "",
        stamp=replace(base.provider.stamp, **values.get("stamp", {})),
        echo=replace(base.provider.echo, **values.get("echo", {})),
        timeouts=replace(base.provider.timeouts, **values.get("timeouts", {})),
        error_rules=tuple(values.get("error_rules", ())) + base.provider.error_rules,
        **{key: values[key] for key in _TAKEN_OVER if key in values},
    )
    return _Offer(provider, url, stated="base_url" in stated or base.stated)


def _accounts(read: Iterable[_Read], offers: Mapping[str, _Offer | None]) -> Iterator[Account]:
    taken: dict[str, int] = {}
    for part, values in read:
        _once(part, "id", values, taken)
        with contextlib.suppress(Unusable):
            yield _account(part, values, offers)


def _account(part: Part, values: dict[str, Any], offers: Mapping[str, _Offer | None]) -> Account:
    if "provider" not in values:
        raise Unusable
    offer = _named(values["provider"], offers)
    url = values.get("base_url", offer.url)
    stated = part.members()
    if url is None or ("base_url" in stated and "base_url" not in values):
        if "base_url" not in stated and not offer.stated:
            part.note(f"base_url is missing: '{offer.provider.name}' has none of its own")
        raise Unusable
    where = stated.get("base_url", part)
    plain = url.origin and url.origin.scheme == "http" and not is_loopback(url.origin.host)
    if plain and not values.get("insecure_http"):
        raise where.wrong("must be https: no key goes over plain http beyond this machine (see insecure_http)")
    if not {"id", "key"} <= values.keys():
        raise Unusable
    provider = offer.provider
    bounds = {"slots": provider.slots, "serialize": provider.serialize}
    rules = tuple(values.pop("error_rules", ())) + provider.error_rules
    own = values.get("headers", {})
    return Account(
        provider=offer.provider,
        secret=values["key"],
        origin=url.origin,
        base_path=url.path,
        place=f"{part.place.line}:{part.place.column}",
        error_rules=rules,
        headers={name: header.text for name, header in own.items() if not header.secret},
        secret_headers=tuple(
            SecretHeader(name, header.secret, header.scheme) for name, header in own.items() if header.secret
        ),
        **bounds | {name: value for name, value in values.items() if name not in _TOLD_APART},
    )


_TOLD_APART = ("provider", "base_url", "key", "headers")


def _named(part: Part, offers: Mapping[str, _Offer | None]) -> _Offer:
    name = yaml_document.text(part)
    if name not in offers:
        hint = yaml_document.meant(name, offers) or f"; there are {', '.join(offers)}"
        raise part.wrong(f"{part.said()} is no provider{hint}")
    if (found := offers[name]) is None:
        raise Unusable
    return found


def _clients(read: Iterable[_Read]) -> Iterator[ClientKey]:
    taken: dict[str, int] = {}
    for part, values in read:
        _once(part, "name", values, taken)
        if {"name", "key"} <= values.keys():
            rights = {name: value for name, value in values.items() if name not in ("name", "key")}
            yield ClientKey(values["name"], values["key"], **rights)


def _once(part: Part, key: str, values: Mapping[str, Any], taken: dict[str, int]) -> None:
    if (name := values.get(key)) is None:
        return
    here = part.members()[key]
    if name in taken:
        here.note(f"'{name}' is taken already, on line {taken[name]}")
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


def _warnings(draft: _Draft, env: Mapping[str, str] | None) -> Iterator[Mistake]:
    for part, secret in draft.keys:
        if secret.source == "literal" and not secret.value.startswith(_HARMLESS):
            yield _warning(part, "stands here in plain text; env:, file: or {cmd: […]} keep it out of this file")
        if secret.source == "env" and env is not None and not env.get(secret.value):
            yield _warning(part, f"the environment variable {secret.value} is not set")
    for at, account in enumerate(draft.config.accounts):
        if account.insecure_http and account.enabled and account.origin and account.origin.scheme == "http":
            part = draft.accounts.items()[at]
            yield _warning(part, f"its key goes over plain http to {account.origin.host}, readable on the way")
    if draft.config.mode == "serve" and not any(account.enabled for account in draft.config.accounts):
        yield _warning(draft.accounts, "none is enabled, so every request will be refused")


def _warning(part: Part, message: str) -> Mistake:
    return Mistake(part.place, part.path, message)
