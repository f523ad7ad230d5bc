"""Readers of single values: secrets, URLs, hosts, headers, templates and lists of them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import field, replace
from typing import Any, get_args
from urllib.parse import urlsplit

from .. import secret_patterns
from ..crosstalk.detectors import DETECTORS
from ..dialects import FAMILIES
from ..frozen import dataclass
from ..values import header_names
from ..values.account import CredentialForm, CredentialHeader, Secret
from ..values.http import DEFAULT_PORTS, Origin
from . import yaml_document
from .settings import TIERS
from .yaml_document import Each, Either, InvalidSetting, Named, Scalar, Section, Setting

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIKE_A_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*\}?|os\.environ/\w+|\{env:\w+\}")
_CREDENTIAL = re.compile(r"[!-~]+")  # visible ASCII: other characters are not valid in a header
_POINTER = re.compile(r"(?:/(?:[^~]|~[01])*)+")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MEMBER = re.compile(r"[^.\s]{1,128}(?:\.[^.\s]{1,128})?")
_MEMBER_PATH = re.compile(r"[^.\s]{1,128}(?:\.[^.\s]{1,128}){0,7}")
_KEY_PREFIX = re.compile(r"[!-~][ -~]{0,62}[^0-9A-Za-z]|[^ 0-9A-Za-z]")
_FIELD = re.compile(r"\{(\w+)\}")
_FIELDS = ("request_id", "request_guid", "session_id", "model_id", "thread_id")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_ALLOWED_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_.-]{1,253}|\[[0-9a-f:.]+\]|[0-9a-f]*:[0-9a-f:.]+")
_ALLOWED_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@\\]+")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,63}")
_ENDPOINT = re.compile(r"(?:/[a-z_]{1,64}){1,8}")
_CREDENTIAL_HEADERS = {*header_names.CREDENTIALS, "proxy-authorization", "cookie", "set-cookie"}
_PROXY_HEADERS = {*header_names.HOPS, *header_names.MESSAGE, "accept-encoding", "proxy-connection", "expect"}


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A base URL; *origin* is None for `reverse`."""

    text: str
    origin: Origin | None
    path: str

    @classmethod
    def of(cls, text: str) -> BaseUrl:
        """Take a valid URL apart. An IPv6 address is compressed, as origins are compared by their text."""
        parts = urlsplit(text)
        host = parts.hostname or ""
        host = str(ipaddress.ip_address(host)) if ":" in host else host
        return cls(text, Origin(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme]), parts.path.rstrip("/"))


def identifier(setting: Setting) -> str:
    found = yaml_document.text(setting)
    if not _ID.fullmatch(found):
        raise setting.wrong(f"must be 1 to 64 letters, digits, '.', '_' or '-', is {setting.described()}")
    return _without_key(setting, found, secret_patterns.may_be_key)


def entry_name(setting: Setting, name: str) -> str:
    if not _ID.fullmatch(name):
        raise setting.wrong("a name must be 1 to 64 letters, digits, '.', '_' or '-'")
    return _without_key(setting, name, secret_patterns.may_be_key)


def _without_key(setting: Setting, found: str, looks: Callable[[str], bool] = secret_patterns.is_key) -> str:
    """Return *found*, which logs and headers show, or refuse it if it *looks* like a key."""
    if looks(found):
        raise setting.wrong("looks like a key, but this value is shown in logs and headers; a key belongs under key:")
    return found


def shown_text(setting: Setting) -> str:
    return _without_key(setting, yaml_document.text(setting))


def shown_name(setting: Setting, name: str) -> str:
    return _without_key(setting, name)


def file_path(setting: Setting) -> str:
    """Read the path of a file. A text without a slash must not look like a key."""
    found = yaml_document.text(setting)
    return found if "/" in found else _without_key(setting, found, secret_patterns.may_be_key)


# Secrets: no message of this section quotes the text.


def _secret_text(setting: Setting) -> Secret:
    found = setting.scalar("a credential: env:NAME, file:PATH, {cmd: [program, argument]} or the key itself").text
    return _secret(setting, found.strip())


def _secret(setting: Setting, found: str) -> Secret:
    source, colon, rest = found.partition(":")
    match source if colon else "":
        case "env":
            return _of_env(setting, rest.strip())
        case "file":
            return _of_file(setting, rest.strip())
        case "cmd":
            raise setting.wrong("must be written as {cmd: [program, argument]}")
        case _:
            return _literal(setting, found)


def _of_env(setting: Setting, name: str) -> Secret:
    if not _VARIABLE.fullmatch(name):
        raise setting.wrong("env: must name an environment variable, as in env:OPENAI_API_KEY")
    if secret_patterns.is_key(name):
        raise setting.wrong("env: must be followed by a name, and this looks like a key; write a key without env:")
    return Secret("env", name)


def _of_file(setting: Setting, rest: str) -> Secret:
    path, mark, pointer = rest.partition("#")
    if not path or not path.isprintable():
        raise setting.wrong("file: must name a file, as in file:~/.config/patchbay/key")
    if "/" not in path and secret_patterns.may_be_key(path):
        raise setting.wrong("file: must be followed by a path, and this looks like a key; write a key without file:")
    if mark and not _POINTER.fullmatch(pointer):
        raise setting.wrong("the part after # must be a JSON pointer such as #/tokens/access_token")
    return Secret("file", path, pointer)


def login_file(setting: Setting) -> str:
    """Read the path of the file in which a tool keeps its login."""
    found = yaml_document.text(setting)
    if found.startswith("file:"):
        raise setting.wrong("must be the path of the file alone, without file:")
    if "#" in found:
        raise setting.wrong("must be the path of the file alone; a member of it is named by key: file:PATH#/member")
    return found if "/" in found else _without_key(setting, found, secret_patterns.may_be_key)


def _literal(setting: Setting, found: str) -> Secret:
    if not found:
        raise setting.wrong("must be a credential, is empty")
    if _LIKE_A_VARIABLE.fullmatch(found):
        raise setting.wrong("variables are written env:NAME")
    if len(found) > 1 and found[0] == found[-1] and found[0] in "'\"`":
        raise setting.wrong("must be the key alone, without quotes inside the quotes of YAML")
    if any(c.isspace() for c in found):
        raise setting.wrong("must be the key alone, without spaces or line breaks")
    if not _CREDENTIAL.fullmatch(found):
        raise setting.wrong("must be visible ASCII characters only")
    return Secret("literal", found)


def command_words(setting: Setting) -> tuple[str, ...]:
    if isinstance(setting.node, Scalar):
        raise setting.wrong("must be a list of words, as in [program, argument]; no shell runs it")
    words = [item.scalar("a word of the command").text for item in setting.items()]
    if not words or not words[0].strip():
        raise setting.wrong("must name a program")
    if any("\0" in word for word in words):
        raise setting.wrong("must not contain a NUL character")
    if secret_patterns.is_key(words[0]):
        raise setting.wrong("must name a program first; this looks like a key")
    return tuple(words)


def _pointer_setting(setting: Setting) -> str:
    found = yaml_document.text(setting)
    if not _POINTER.fullmatch(found):
        raise setting.wrong(f"must be a JSON pointer such as /tokens/access_token, is {setting.described()}")
    return _without_key(setting, found)


def _command(setting: Setting, values: dict[str, Any]) -> Secret:
    if "cmd" not in values:
        raise InvalidSetting
    return Secret("cmd", **{"argv" if name == "cmd" else name: value for name, value in values.items()})


COMMAND = Section(
    {
        "cmd": command_words,
        "pointer": _pointer_setting,
        "ttl": yaml_document.seconds,
        "timeout": yaml_document.seconds,
    },
    _command,
    needs=("cmd",),
)
SECRET = Either(_secret_text, COMMAND)

_STORES = "memory, sqlite, sqlite:///PATH, redis://HOST:PORT/NUMBER, rediss://… or env:NAME"


def store_url(setting: Setting) -> str:
    found = _stated_store(setting)
    where = urlsplit(found).hostname or found.partition(":///")[2]  # the server or the file
    if "/" not in where:  # messages about an unusable store show this part, and no password
        _without_key(setting, where)
    return found


def _stated_store(setting: Setting) -> str:
    found = yaml_document.text(setting)
    scheme, colon, rest = found.partition(":")
    match scheme:
        case "memory" | "sqlite" if not colon:
            return found
        case "sqlite" if rest.startswith("///") and len(rest) > len("///"):
            return found
        case "redis" | "rediss" if _has_host(found):
            return found
        case "env" if _VARIABLE.fullmatch(rest):
            return found
    raise setting.wrong(f"must be one of {_STORES}")  # the text is not quoted: it may hold a password


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Headers, templates, URLs


def header_name(setting: Setting, name: str) -> str:
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        raise setting.wrong("is not a header name")
    if lower in _CREDENTIAL_HEADERS:
        raise setting.wrong("must not be set here: the credential comes from key: only")
    if lower in _PROXY_HEADERS:
        raise setting.wrong("must not be set here: it belongs to the connection or the body")
    if lower.startswith(header_names.OURS):
        raise setting.wrong("must not be set here: X-Patchbay-* is Patchbay's own")
    return _without_key(setting, name, secret_patterns.may_be_key)


def _credential_header(setting: Setting, values: dict[str, Any]) -> CredentialHeader:
    if "header" not in values:
        raise InvalidSetting
    return CredentialHeader(values["header"], values.get("prefix", ""))


def _own_header(setting: Setting) -> str:
    name = yaml_document.text(setting)
    lower = name.lower()
    if lower in get_args(CredentialForm):
        raise setting.wrong(f"is the name of a form of a key: write credential: {lower}")
    if not _HEADER_NAME.fullmatch(name):
        raise setting.wrong("is not a header name")
    if lower in _CREDENTIAL_HEADERS - header_names.CREDENTIALS.keys() or lower in header_names.ACCOUNTS:
        raise setting.wrong("must not carry the key: it names a client, and Patchbay keeps it from providers")
    if lower in _PROXY_HEADERS or lower.startswith(header_names.OURS):
        raise setting.wrong("must not carry the key: it belongs to the connection, to the body or to Patchbay")
    return _without_key(setting, name, secret_patterns.may_be_key)


def _key_prefix(setting: Setting) -> str:
    found = "" if setting.is_null else setting.scalar("what stands before the key").text
    if found and not _KEY_PREFIX.fullmatch(found):
        raise setting.wrong("must be visible ASCII characters and end with a blank or a sign, as in 'Token '")
    return _without_key(setting, found, secret_patterns.may_be_key)


CREDENTIAL = Either(
    yaml_document.one_of(*get_args(CredentialForm)),
    Section({"header": _own_header, "prefix": _key_prefix}, _credential_header, needs=("header",)),
)


def echo_header(setting: Setting, name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise setting.wrong("is not a header name")
    return _without_key(setting, name.lower(), secret_patterns.may_be_key)


def _passed_header(setting: Setting) -> str:
    name = yaml_document.text(setting).lower()
    if not _HEADER_NAME.fullmatch(name):
        raise setting.wrong("is not a header name")
    if name in _CREDENTIAL_HEADERS - {"cookie"}:
        raise setting.wrong("must not pass: it carries the account's own credential")
    if name in _PROXY_HEADERS or name.startswith(header_names.OURS):
        raise setting.wrong("must not pass: it belongs to the connection, to the body or to Patchbay")
    return _without_key(setting, name, secret_patterns.may_be_key)


def passed_parameters(setting: Setting) -> frozenset[str]:
    return frozenset(Each(shown_text)(setting))


def passed_headers(setting: Setting) -> frozenset[str]:
    return frozenset(Each(_passed_header)(setting))


def _header_value(setting: Setting) -> str:
    found = setting.scalar("the value of a header").text
    if not _HEADER_VALUE.fullmatch(found):
        raise setting.wrong("must be one line of visible ASCII characters")
    return found


def model_id(setting: Setting) -> str:
    return _without_key(setting, _header_value(setting))


@dataclass(frozen=True, slots=True)
class AccountHeader:
    """
    The value of an account's header: text, or a credential after its *scheme* (`Bearer `).

    *setting* is None for one that no setting states: of a login.
    """

    setting: Setting | None
    text: str = field(default="", repr=False)
    secret: Secret | None = None
    scheme: str = ""


_SOURCE = re.compile(r"(?:env|file|cmd):")
_OF_SOURCE = re.compile(r"(?P<scheme>(?:[!-~]+ +)?)(?P<source>(?:env|file|cmd):.*)")


def _account_header(setting: Setting) -> AccountHeader:
    found = _header_value(setting)
    if named := _OF_SOURCE.fullmatch(found):
        return AccountHeader(setting, secret=_secret(setting, named["source"]), scheme=named["scheme"])
    return _as_credential(setting, found) if secret_patterns.is_key(found) else AccountHeader(setting, found)


def _as_credential(setting: Setting, found: str) -> AccountHeader:
    scheme, blank, value = found.rpartition(" ")
    return AccountHeader(setting, secret=_literal(setting, value), scheme=scheme + blank)


def _header_command(setting: Setting, values: dict[str, Any]) -> AccountHeader:
    return AccountHeader(setting, secret=_command(setting, values))


def account_headers(setting: Setting) -> dict[str, AccountHeader]:
    """Read the headers of an account. A name or a value that looks like a credential makes the value a secret."""
    found = Named(Either(_account_header, replace(COMMAND, make=_header_command)), header_name)(setting)
    named = {name for name, own in found.items() if secret_patterns.names_key(name) and not own.secret}
    return {name: _as_credential(own.setting, own.text) if name in named else own for name, own in found.items()}


def member_name(setting: Setting, name: str) -> str:
    if not _MEMBER.fullmatch(name):
        raise setting.wrong("must name a member of the body: name, or outer.inner")
    return _without_key(setting, name)


def header_template(setting: Setting) -> str:
    _header_value(setting)
    return template(setting)


def template(setting: Setting) -> str:
    found = yaml_document.text(setting)
    if secret_patterns.is_key(found) or _SOURCE.match(found):
        raise setting.wrong("must not be a credential; write it under headers of an account")
    for name in _FIELD.findall(found):
        if name not in _FIELDS:
            known = ", ".join(f"{{{field}}}" for field in _FIELDS)
            raise setting.wrong(
                f"{{{yaml_document.shown(name)}}} is none of {known}{yaml_document.suggestion(name, _FIELDS)}"
            )
    return found


def base_url(setting: Setting) -> BaseUrl:
    found = yaml_document.text(setting)
    if found == "reverse":
        return BaseUrl(found, None, "")
    scheme, separator, _ = found.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        said = "" if "@" in found or "?" in found else f", is {setting.described()}"
        raise setting.wrong(f"must begin with https:// or http://, or be 'reverse'{said}")
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise setting.wrong("must be a URL such as https://api.openai.com/v1") from None
    _check_url(setting, found, parts.netloc, parts.hostname or "", port)
    _check_path(setting, parts.path)
    _without_key(setting, parts.hostname or "", secret_patterns.is_no_host)
    _without_key(setting, parts.path)
    return BaseUrl.of(found)


def _check_url(setting: Setting, found: str, netloc: str, host: str, port: int | None) -> None:
    if "@" in netloc:
        raise setting.wrong("must not contain a user name or password")
    if "?" in found or "#" in found:
        raise setting.wrong("must not contain a query or a fragment (? or #)")
    if not (_HOST.fullmatch(host) or _is_address(host)):
        raise setting.wrong("must name a host in ASCII letters, or an address, without spaces")
    if port == 0:
        raise setting.wrong("must name a port from 1 to 65535")


def _check_path(setting: Setting, path: str) -> None:
    if not _PATH.fullmatch(path) or "//" in path or {".", ".."} & set(path.split("/")):
        raise setting.wrong("must have a plain path: no spaces, no //, no . or .. between slashes")


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def allowed_host(setting: Setting) -> str:
    found = yaml_document.text(setting).lower()
    if not _ALLOWED_HOST.fullmatch(found):
        raise setting.wrong(
            f"must be a host's name or address without a port, such as box.lan or *.lan, is {setting.described()}"
        )
    return found.strip("[]")


def allowed_origin(setting: Setting) -> str:
    found = yaml_document.text(setting).lower()
    if not _ALLOWED_ORIGIN.fullmatch(found):
        raise setting.wrong(f"must be an origin such as http://localhost:3000, is {setting.described()}")
    return found


# Lists


def session_order(setting: Setting) -> tuple[str, ...]:
    return _without_repeats(setting, yaml_document.one_of(*TIERS))


def signal_headers(setting: Setting) -> tuple[str, ...]:
    return _without_repeats(setting, _signal_header)


def _signal_header(setting: Setting) -> str:
    name = yaml_document.text(setting)
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        raise setting.wrong("is not a header name")
    if lower in _PROXY_HEADERS:
        raise setting.wrong("names no conversation: it belongs to the connection or the body")
    if lower.startswith(header_names.OURS):
        raise setting.wrong("names no conversation: X-Patchbay-* is Patchbay's own, and X-Patchbay-Session-Id is read")
    if lower in _CREDENTIAL_HEADERS or secret_patterns.names_key(name):
        raise setting.wrong("names no conversation: by its name it holds a credential, and its value is never read")
    return _without_key(setting, lower, secret_patterns.may_be_key)


def signal_members(setting: Setting) -> tuple[str, ...]:
    return _without_repeats(setting, _signal_member)


def _signal_member(setting: Setting) -> str:
    found = yaml_document.text(setting)
    if not _MEMBER_PATH.fullmatch(found):
        raise setting.wrong(f"must name a member of the body, as in chat_id or chat.id, is {setting.described()}")
    return _without_key(setting, found)


def _without_repeats(setting: Setting, inner: Callable[[Setting], str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in setting.items():
        try:
            name = inner(item)
        except InvalidSetting:
            continue
        if name in found:
            item.note(f"'{name}' is repeated")
        found[name] = None
    return tuple(found)


def families(setting: Setting) -> frozenset[str]:
    if not setting.items():
        raise setting.wrong(f"must name at least one of {', '.join(FAMILIES)}")
    return frozenset(Each(yaml_document.one_of(*FAMILIES))(setting))


def endpoint_suffixes(setting: Setting) -> frozenset[str]:
    return frozenset(Each(_endpoint_suffix)(setting))


def _endpoint_suffix(setting: Setting) -> str:
    if not _ENDPOINT.fullmatch(found := yaml_document.text(setting)):
        raise setting.wrong(f"must be the end of a path, as in /chat/completions, is {setting.described()}")
    return found


def path_patterns(setting: Setting) -> tuple[str, ...]:
    return tuple(Each(_path_pattern)(setting))


def _path_pattern(setting: Setting) -> str:
    found = yaml_document.text(setting)
    if found != "*" and not (found.startswith("/") and _PATH.fullmatch(found)):
        raise setting.wrong(f"must be a path such as /v1/assistants, or '*' for all of them, is {setting.described()}")
    return found


def api_version(setting: Setting) -> str:
    if not _VERSION.fullmatch(found := yaml_document.text(setting)):
        raise setting.wrong(f"must be a version such as 2024-10-21, is {setting.described()}")
    return _without_key(setting, found, secret_patterns.may_be_key)


def patterns(setting: Setting) -> tuple[str, ...]:
    return tuple(Each(shown_text)(setting))


def allowed_models(setting: Setting) -> tuple[str, ...]:
    if not setting.items():
        raise setting.wrong("must name at least one model; '*' allows all of them")
    return patterns(setting)


def at_least_one(inner: Callable[[Setting], str]) -> Callable[[Setting], tuple[str, ...]]:
    def read(setting: Setting) -> tuple[str, ...]:
        if not setting.items():
            raise setting.wrong("must name at least one; leave it out to allow all of them")
        return tuple(Each(inner)(setting))

    return read


def detectors(setting: Setting) -> tuple[str, ...]:
    return tuple(Each(yaml_document.one_of(*DETECTORS))(setting))


def statuses(setting: Setting) -> frozenset[int]:
    read = yaml_document.whole(100, 599)
    return frozenset([read(setting)] if isinstance(setting.node, Scalar) else Each(read)(setting))


def duration_or_zero(setting: Setting) -> float:
    return 0.0 if setting.scalar("a duration").text in ("0", "0s") else yaml_document.seconds(setting)
