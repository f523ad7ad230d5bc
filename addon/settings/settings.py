"""The settings, as values with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..values.account import Account, Secret

Strategy = Literal["rendezvous", "round_robin", "fill_first", "least_busy"]


RepeatSlow = Literal["none", "streams", "all"]


TIERS = (
    "own", "parent", "claude_session", "codex", "harness", "generic_header", "body_session", "conversation",
    "token", "cache_key", "user", "content",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sessions:
    """How conversations are recognised and how long an account is kept for one. *ttl* is in seconds, sliding."""

    order: tuple[str, ...] = TIERS
    ttl: float = 3600.0
    limit: int = 10_000
    subagents: Literal["share", "isolate"] = "share"
    on_error: Literal["keep", "clear"] = "keep"
    cache_ttl: float = 300.0  # how long a provider's prompt cache stays warm
    failback: Literal["idle", "never"] = "idle"


@dataclass(frozen=True, slots=True)
class ClientKey:
    """
    A key of a client of ours, by which it is known. *may_pin* lets it choose the account of a request.

    Clients of one *scope* (empty: the name) share their conversations. *pools*, *providers* and *models* are what the
    key may use; the latter two are patterns. Empty: all of them.
    """

    name: str
    secret: Secret
    may_pin: bool = False
    scope: str = ""
    pools: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failover:
    """
    How often and how long one exchange may try. *seconds* bounds the time until the last attempt begins.

    An account is asked once, so that *attempts* only bounds what a request costs in a very large pool.

    *hold* keeps the head of an answer back until its first content, at most *hold_seconds*: until then another account
    can take over unseen. *patience* is the longest a conversation waits for its home when that has a passing fault.
    *repeat_slow* says which requests are sent to another account when `first_byte` is over: both may answer, and bill.

    *owner* is what becomes of a conversation with encrypted reasoning whose account is out: it is refused, or another
    account gets it as it is (`try`), and once more without that reasoning if it refuses it (`strip`).
    """

    attempts: int = 24
    seconds: float = 30.0
    patience: float = 3.0
    hold: bool = True
    hold_seconds: float = 10.0
    repeat_slow: RepeatSlow = "streams"
    owner: Literal["refuse", "try", "strip"] = "strip"


@dataclass(frozen=True, slots=True)
class Crosstalk:
    """
    What is done about an answer that is proved to be another's.

    `observe` flags and delivers it. `block` gives an error instead, and cuts what has begun. `retry` asks once more
    while the client has seen nothing, and blocks otherwise.

    *incidents* is how many are kept as files in the state folder. *on_incident* is a command that is run with the
    file's name, at most once in *every* seconds.
    """

    reaction: Literal["observe", "block", "retry"] = "observe"
    incidents: int = 200
    on_incident: tuple[str, ...] = field(default=(), repr=False)
    every: float = 10.0


@dataclass(frozen=True, slots=True)
class Queue:
    """
    How requests wait for their turn: *limit* of them at most, each *seconds* at most.

    *patience* is how long one waits for a better account that is busy, or for one that comes back so soon.
    """

    limit: int = 1000
    seconds: float = 30.0
    patience: float = 2.0


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """One JSON line per exchange in *path* (empty: none), rotated at *max_bytes*, *keep* old files kept."""

    path: str = ""
    max_bytes: int = 10_000_000
    keep: int = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds in bytes: what we read of a request body, and what we keep of a streamed answer for looking at.

    *head* bounds the bytes of a request's headers, *headers* their number. *remembered* is how many ids and tokens are
    known of what was handed to whom; some four of them for an exchange, a few hundred bytes each.
    """

    body: int = 64 * 1024 * 1024
    keep_streamed: int = 2 * 1024 * 1024
    head: int = 256 * 1024
    headers: int = 256
    remembered: int = 100_000


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. *state* is the folder of the key and of what survives a restart."""

    accounts: tuple[Account, ...]
    state: str = "~/.local/state/patchbay"
    store: str = field(default="", repr=False)  # a URL, which may hold a password; empty: memory alone
    strategy: Strategy = "rendezvous"
    sessions: Sessions = Sessions()
    clients: tuple[ClientKey, ...] = ()
    failover: Failover = Failover()
    queue: Queue = Queue()
    journal: JournalSettings = JournalSettings()
    crosstalk: Crosstalk = Crosstalk()
    limits: Limits = Limits()
    other: Literal["pass", "refuse", ""] = ""  # empty: refuse in reverse mode, pass in regular mode
    mode: Literal["serve", "shadow"] = "serve"  # shadow: everything is decided and recorded, nothing is changed
    grace: float = 20.0  # seconds that answers in flight get when the proxy is to end
    allowed_hosts: tuple[str, ...] = ()  # names we go by, besides those of this machine
    allowed_origins: tuple[str, ...] = ()  # web pages that may ask
    warnings: tuple[str, ...] = ()
    # setting (as in messages: accounts[0].key) → where it stands in the file, for messages
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
