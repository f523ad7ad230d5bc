"""Accounts and providers, as the settings describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

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
    What we put on a request besides our own `X-Patchbay-Request-Id`.

    Values are templates over {request_id}, {request_guid} (the same id in the form of a GUID), {session_id},
    {model_id}, {thread_id}; one whose field is empty is left out. A header the client sent itself is left alone.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    body_paths: frozenset[str] = frozenset()  # endpoints (`/chat/completions`) whose bodies take *body*; empty: all
    patchbay_headers: bool = True  # False: not even our own headers (`pristine`)

    def names(self, field: str) -> bool:
        """Whether a template has *field* in it."""
        return any(f"{{{field}}}" in template for template in (*self.headers.values(), *self.body.values()))


@dataclass(frozen=True, slots=True)
class Echo:
    """The places where a request id may come back, and the depth of their writers."""

    headers: Mapping[str, Depth] = field(default_factory=dict)
    body: Mapping[str, Depth] = field(default_factory=dict)
    promised: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """
    How long one attempt may take, in seconds; 0 is no bound.

    *connect* until the connection stands (TLS included), *first_byte* from then until the head of the answer, *idle*
    between two pieces of it, *total* for all of it. A model may think for long before a whole answer, for which
    *whole_first_byte* and *whole_idle* hold; they are no bound unless the settings name the other two.
    """

    connect: float = 10.0
    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 0.0
    whole_first_byte: float = 0.0
    whole_idle: float = 0.0

    @property
    def of_whole(self) -> Timeouts:
        """Return what holds for a whole answer of a model."""
        return replace(self, first_byte=self.whole_first_byte, idle=self.whole_idle)


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """
    What an error of one of *status* (none: any) that *contains* a text, in any case, means; it goes before our tables.

    *outcome* is None where the tables are to say it; *cooldown* is in seconds, None where it follows from the outcome.
    """

    status: frozenset[int] = frozenset()
    contains: str = ""
    outcome: OutcomeKind | None = None
    cooldown: float | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """
    One service at one base URL. *base_url* is a URL, `reverse` (the upstream of `--mode reverse:`) or empty.

    *layout* says how paths read under it; *api_version* is what Azure wants to be told in the query. A path
    that is no endpoint of its dialects, nor one of *paths* or below one, gets no key: it may administer the account.
    """

    name: str
    preset: str
    families: frozenset[str]
    base_url: str = ""
    credential: CredentialForm = "auto"
    stamp: Stamp = Stamp()
    echo: Echo = Echo()
    timeouts: Timeouts = Timeouts()
    model_ids: Mapping[str, str] = field(default_factory=dict)
    slots: int = 0  # session ids upstream per client and model, each for one request at a time; 0: one a conversation
    serialize: Serialize = "none"
    error_rules: tuple[ErrorRule, ...] = ()
    disabled_detectors: tuple[str, ...] = ()  # detectors of crosstalk that have nothing to say about this provider
    layout: Layout = "plain"
    api_version: str = ""
    pass_headers: frozenset[str] = frozenset()  # headers of the client's that go up though they look like credentials
    pass_query: frozenset[str] = frozenset()  # … and parameters of the query
    paths: tuple[str, ...] = ()  # patterns of paths beyond its dialects' that get a key as well


@dataclass(frozen=True, slots=True)
class Secret:
    """
    Where a credential comes from. *value* is the literal, the variable's name, or the file's path.

    *pointer* is an RFC 6901 JSON pointer into the file; *argv* the command of `cmd:`; *ttl* how long its output holds,
    *timeout* how long it may take, both in seconds.
    """

    source: Literal["literal", "env", "file", "cmd"]
    value: str = field(default="", repr=False)
    pointer: str = ""
    argv: tuple[str, ...] = field(default=(), repr=False)
    ttl: float = 300.0
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header of an account with a credential in it. *scheme* stands before the value, as in `Bearer `."""

    name: str
    secret: Secret
    scheme: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """
    What an account serves. Patterns are shell-style wildcards; deny wins over allow.

    *aliases*: the client's name of a model → the model, applied before allow and deny. *upstream_names*: a model → the
    provider's name for it.
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    upstream_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """
    One credential at one provider. *origin* is None for `base_url: reverse`; *base_path* has no trailing slash.

    *place* is where it stands in the file, for messages.
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
    headers: Mapping[str, str] = field(default_factory=dict)  # extra headers that belong to the account
    secret_headers: tuple[SecretHeader, ...] = ()  # … and those of them that hold a credential
    insecure_http: bool = False  # True: the credential may go over plain http beyond this machine
    place: str = ""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every credential that a request of this account carries, its key first."""
        return (self.secret, *(header.secret for header in self.secret_headers))
