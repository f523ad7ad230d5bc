"""The settings, as values. Reading them from YAML, with every mistake at once and its place, is the second half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .providers import Provider
from .values import Origin

Strategy = Literal["rendezvous", "round_robin", "fill_first", "least_busy"]
TIERS = (
    "own", "parent", "claude_session", "codex", "harness", "generic_header", "body_session", "conversation",
    "token", "cache_key", "user", "content",
)  # fmt: skip


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
    argv: tuple[str, ...] = ()
    ttl: float = 300.0
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Models:
    """
    What an account serves. Patterns are shell-style wildcards; deny wins over allow.

    *aliases*: the name a client asks for → the name it means, before allow and deny are asked. *names*: that name → what
    this account's provider calls it.
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


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
    quota: str = ""
    websockets: bool = False
    max_concurrent: int = 0  # 0: no bound
    models: Models = Models()
    headers: Mapping[str, str] = field(default_factory=dict)  # extra headers that belong to the account
    place: str = ""


@dataclass(frozen=True, slots=True)
class Sessions:
    """How conversations are recognised and how long an account is kept for one. *ttl* is in seconds, sliding."""

    order: tuple[str, ...] = TIERS
    ttl: float = 3600.0
    limit: int = 10_000
    subagents: Literal["share", "isolate"] = "share"
    on_error: Literal["keep", "clear"] = "keep"


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key of a client of ours, by which it is known. *may_pin* lets it choose the account of a request."""

    name: str
    secret: Secret
    may_pin: bool = False


@dataclass(frozen=True, slots=True)
class Failover:
    """How often and how long one exchange may try. *seconds* bounds the time to the first byte."""

    attempts: int = 3
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Journal:
    """One JSON line per exchange in *path* (empty: none), rotated at *max_bytes*, *keep* old files kept."""

    path: str = ""
    max_bytes: int = 10_000_000
    keep: int = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in bytes: what we read of a request body, and what we keep of a streamed answer for looking at."""

    body: int = 64 * 1024 * 1024
    keep_streamed: int = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. *state* is the folder of the key and of what survives a restart."""

    accounts: tuple[Account, ...]
    state: str = "~/.local/state/patchbay"
    strategy: Strategy = "rendezvous"
    sessions: Sessions = Sessions()
    clients: tuple[ClientKey, ...] = ()
    failover: Failover = Failover()
    journal: Journal = Journal()
    limits: Limits = Limits()
    other: Literal["pass", "refuse", ""] = ""  # empty: refuse in reverse mode, pass in regular mode
    warnings: tuple[str, ...] = ()
