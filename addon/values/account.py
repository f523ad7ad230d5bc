"""Accounts and providers, as the settings describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import lru_cache
from typing import Literal

from ..frozen import dataclass
from .http import Origin

Depth = Literal["none", "edge", "handler", "body", "engine"]
OutcomeKind = Literal[
    "ok", "rate", "quota", "overload", "auth", "permission", "model", "server", "request", "cancelled"
]
# What an outcome is held against: the account for one model, all of it, or nothing but this exchange.
OutcomeScope = Literal["lane", "account", "exchange"]
CredentialForm = Literal["auto", "bearer", "x-api-key", "x-goog-api-key", "api-key", "query"]
Layout = Literal["plain", "azure"]
Serialize = Literal["none", "thread", "account", "model_switch"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    The headers and body members added to a request besides `X-Patchbay-Request-Id`.

    Values are templates over {request_id}, {request_guid} (the same id in the form of a GUID), {session_id},
    {model_id}, {thread_id}. A template with an empty field is skipped; a header that the client sent is kept.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    body_paths: frozenset[str] = frozenset()  # endpoints (`/chat/completions`) that get *body*; empty: all
    patchbay_headers: bool = True  # False: without X-Patchbay headers too (`pristine`)

    def uses(self, field: str) -> bool:
        """Whether a template contains *field*."""
        return f"{{{field}}}" in "\n".join((*self.headers.values(), *self.body.values()))


# The place of the request id at a provider that repeats the metadata of a request in its answer: added to what the
# client sends there, and taken out of the answer again.
METADATA = "metadata.pb"
COUNT = "stream_options.include_usage"  # asks for the count of tokens at the end of a chat's stream


@dataclass(frozen=True, slots=True)
class Echo:
    """The places where a request id may come back, with the depth of each: which component writes it."""

    headers: Mapping[str, Depth] = field(default_factory=dict)
    body: Mapping[str, Depth] = field(default_factory=dict)
    promised: bool = False

    @property
    def in_metadata(self) -> bool:
        """Whether METADATA is one of the places."""
        return METADATA in self.body


@dataclass(frozen=True, slots=True)
class Timeouts:
    """
    How long one attempt may take, in seconds; 0 is no bound.

    *connect*: until the connection is open, TLS included. *first_byte*: from then until the head of the answer. *idle*:
    between two chunks. *total*: the attempt. A model may compute for long before an answer that is not streamed:
    *whole_first_byte* and *whole_idle* apply to it, and are 0 unless the settings name *first_byte* and *idle*.
    """

    connect: float = 10.0
    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 0.0
    whole_first_byte: float = 0.0
    whole_idle: float = 0.0

    @property
    def for_whole_answer(self) -> Timeouts:
        """The bounds for an answer of a model that is not streamed."""
        return _for_whole_answer(self)


@lru_cache(256)
def _for_whole_answer(timeouts: Timeouts) -> Timeouts:
    return replace(timeouts, first_byte=timeouts.whole_first_byte, idle=timeouts.whole_idle)


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """
    A user's rule for errors of one of *status* (none: any) that *contains* a text, ignoring case; checked before ours.

    *outcome*: None leaves it to our tables. *cooldown* is in seconds; None: that of the outcome.
    """

    status: frozenset[int] = frozenset()
    contains: str = ""
    outcome: OutcomeKind | None = None
    cooldown: float | None = None


@dataclass(frozen=True, slots=True)
class CredentialHeader:
    """A header of a provider's own that carries the key, behind *prefix*."""

    header: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class LoginFile:
    """
    A login that a *tool* of the user keeps in the file *path*: pointers (RFC 6901) to the *key* and to *headers* in it.

    The tool alone renews it. *tool* is the command that does.
    """

    tool: str
    path: str
    key: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceVariables:
    """
    The environment variables by which tools know a service: those of its *keys*, and of its *servers*' addresses.

    With a suffix (`_2`, `_WORK`) a variable of a key is one of several. The key of a server that no preset knows is one
    for the preset *elsewhere*; empty: for this one.
    """

    keys: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """
    One service at one base URL. *base_url* is a URL, `reverse` (the upstream of `--mode reverse:`) or empty.

    *layout* is the form of the paths under it; *api_version* is Azure's query parameter. A path that is no endpoint of
    its dialects and does not match or lie below *paths* gets no key: it may administer the account.
    """

    name: str
    preset: str
    families: frozenset[str]
    base_url: str = ""
    credential: CredentialForm | CredentialHeader = "auto"
    stamp: Stamp = Stamp()
    echo: Echo = Echo()
    timeouts: Timeouts = Timeouts()
    model_ids: Mapping[str, str] = field(default_factory=dict)
    slots: int = (
        0  # upstream session ids per client and model, each used by one request at a time; 0: one per conversation
    )
    serialize: Serialize = "none"
    error_rules: tuple[ErrorRule, ...] = ()
    attest: bool = False  # it is asked to compare a turn with the one before, which says whose the answer was
    disabled_detectors: tuple[str, ...] = ()  # crosstalk detectors that are switched off for this provider
    layout: Layout = "plain"
    api_version: str = ""
    pass_headers: frozenset[str] = frozenset()  # client headers that go upstream though they look like credentials
    pass_query: frozenset[str] = frozenset()  # query parameters that do
    paths: tuple[str, ...] = ()  # patterns of further paths that get a key
    endpoints: tuple[str, ...] = ()  # patterns of the endpoints of its dialects that it has; empty: all
    list_items: Mapping[str, str] = field(default_factory=dict)  # header that is a list → what must be in it
    login: LoginFile | None = None  # where the tool of its users keeps their login
    variables: ServiceVariables = ServiceVariables()


@dataclass(frozen=True, slots=True)
class Secret:
    """
    Where a credential comes from. *value* is the literal, the variable's name, or the file's path.

    *pointer* is an RFC 6901 JSON pointer into the file or the output. *argv* is the command of `cmd:`; its output is
    valid for *ttl* seconds, and it is killed after *timeout* seconds. *tool* is the command that renews a login.
    """

    source: Literal["literal", "env", "file", "cmd"]
    value: str = field(default="", repr=False)
    pointer: str = ""
    argv: tuple[str, ...] = field(default=(), repr=False)
    ttl: float = 300.0
    timeout: float = 10.0
    tool: str = ""


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header of an account that holds a credential. *scheme* is the prefix of the value: `Bearer `."""

    name: str
    secret: Secret
    scheme: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """
    What an account serves. Patterns are shell-style wildcards; deny wins over allow.

    *aliases*: client's name → model, applied before allow and deny. *upstream_names*: model → provider's name.
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    upstream_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """
    One credential at one provider. *origin* is None for `base_url: reverse`; *base_path* has no trailing slash.

    *place* is its position in the settings file, for messages. *switched_off*: a command has disabled it, not the
    settings.
    """

    id: str
    provider: Provider
    secret: Secret
    origin: Origin | None = None
    base_path: str = ""
    enabled: bool = True
    weight: float = 1.0
    priority: int = 0
    group: str = ""
    quota_group: str = ""
    websockets: bool = False
    max_concurrent: int = 0  # 0: no bound, here and in the next three
    rpm: int = 0
    tpm: int = 0
    slots: int = 0
    serialize: Serialize = "none"
    trust_reset: Literal["verify", "strict"] = "verify"
    error_rules: tuple[ErrorRule, ...] = ()
    models: Models = Models()
    headers: Mapping[str, str] = field(default_factory=dict)  # extra headers of the account
    secret_headers: tuple[SecretHeader, ...] = ()  # extra headers that hold a credential
    insecure_http: bool = False  # True: the credential may leave this machine over plain http
    place: str = ""
    switched_off: bool = False

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every credential that a request of this account carries, the key first."""
        return (self.secret, *(header.secret for header in self.secret_headers))
