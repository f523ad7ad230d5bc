"""The settings, as values with their defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import Literal

from ..frozen import dataclass
from ..values.account import Account, CredentialHeader, Secret

StrategyName = Literal["rendezvous", "round_robin", "fill_first", "least_busy"]
RepeatSlow = Literal["none", "streams", "all"]
TIERS = (
    "own", "parent", "custom_header", "custom_body", "claude_session", "codex", "harness", "generic_header",
    "body_session", "conversation", "token", "cache_key", "user", "content",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """
    How conversations are identified, and how long each keeps its account: *ttl* seconds after its last request.

    *headers* (lower case) and *body* (dotted paths of members) are places of ids beside those that are known.
    """

    order: tuple[str, ...] = TIERS
    ttl: float = 3600.0
    limit: int = 10_000
    subagents: Literal["share", "isolate"] = "share"
    on_error: Literal["keep", "clear"] = "keep"
    prompt_cache_ttl: float = 300.0  # how long a provider's prompt cache stays warm
    failback: Literal["idle", "never"] = "idle"
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientKey:
    """
    The key of a client. *may_pin*: it may choose the account of a request.

    Clients of one *scope* (empty: the name) share conversations. *pools*, *providers* and *models* are what the key
    may use (empty: all); providers and models are patterns.
    """

    name: str
    secret: Secret
    may_pin: bool = False
    scope: str = ""
    pools: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailoverSettings:
    """
    How one exchange is retried: at most *attempts* attempts, the last of which begins within *timeout* seconds.

    A second attempt at the home, and one without encrypted reasoning, do not count.

    *hold_until_content* holds the head of an answer until its first content, at most *hold_timeout* seconds: until then
    another account can take over. *sticky_wait*: seconds a conversation waits for its home after a transient fault.
    *repeat_slow*: requests that go to another account after `first_byte`, although both may answer, and bill.

    *encrypted_reasoning*: a request with such reasoning, whose account is out, is refused, or another account gets it
    unchanged (`try`), then once more without the reasoning if it refuses it (`strip`).
    """

    attempts: int = 24
    timeout: float = 30.0
    sticky_wait: float = 3.0
    hold_until_content: bool = True
    hold_timeout: float = 10.0
    repeat_slow: RepeatSlow = "streams"
    encrypted_reasoning: Literal["refuse", "try", "strip"] = "strip"


@dataclass(frozen=True, slots=True)
class CrosstalkSettings:
    """
    The reaction to an answer with proof of crosstalk.

    `observe` flags and delivers it. `block` answers with an error, and cuts a stream that has begun. `retry` sends the
    request once more while the client has seen nothing, and blocks otherwise.

    *incidents* is how many are kept as files in the state folder. *on_incident* is a command that runs with the file's
    name, at most once in *on_incident_interval* seconds.
    """

    reaction: Literal["observe", "block", "retry"] = "observe"
    incidents: int = 200
    on_incident: tuple[str, ...] = field(default=(), repr=False)
    on_incident_interval: float = 10.0


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """
    The queue of requests: at most *limit*, each for at most *timeout* seconds.

    *preferred_wait*: seconds a request waits for a busy account of a higher priority, or for the end of a cooldown.
    """

    limit: int = 1000
    timeout: float = 30.0
    preferred_wait: float = 2.0


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """One JSON line per exchange in *path* (empty: none), rotated at *max_bytes*; *keep* old files stay."""

    path: str = ""
    max_bytes: int = 10_000_000
    keep: int = 5


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """
    Bounds. In bytes: *body* of a request, *keep_streamed* of a streamed answer in the flow, *header_size* of a request.

    *header_count* bounds the number of headers, *known_ids* the ids and tokens in the ledger: some four an exchange, a
    few hundred bytes each.
    """

    body: int = 64 * 1024 * 1024
    keep_streamed: int = 2 * 1024 * 1024
    header_size: int = 256 * 1024
    header_count: int = 256
    known_ids: int = 100_000


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. *state* is the folder of the key and the store."""

    accounts: tuple[Account, ...]
    state: str = "~/.local/state/patchbay"
    store: str = field(default="", repr=False)  # a URL, which may hold a password; empty: memory alone
    strategy: StrategyName = "rendezvous"
    sessions: SessionSettings = SessionSettings()
    clients: tuple[ClientKey, ...] = ()
    failover: FailoverSettings = FailoverSettings()
    queue: QueueSettings = QueueSettings()
    journal: JournalSettings = JournalSettings()
    crosstalk: CrosstalkSettings = CrosstalkSettings()
    limits: LimitSettings = LimitSettings()
    other_traffic: Literal["pass", "refuse", ""] = ""  # empty: refuse in reverse mode, pass in regular mode
    mode: Literal["serve", "shadow"] = "serve"  # shadow: decisions are recorded and not applied
    grace_period: float = 20.0  # seconds for answers in flight at shutdown
    allowed_hosts: tuple[str, ...] = ()  # names of this proxy, besides those of this machine
    allowed_origins: tuple[str, ...] = ()  # of web pages that may send requests
    warnings: tuple[str, ...] = ()
    # setting, as in messages (accounts[0].key) → its place in the file
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def looks(self) -> bool:
        """Whether no account is used at all: requests pass with their clients' credentials and are recorded."""
        return self.mode == "shadow" and not any(account.enabled for account in self.accounts)

    @property
    def shown_mode(self) -> str:
        """The mode as a user calls it: `serve`, `shadow` or `look`."""
        return "look" if self.looks else self.mode

    def without(self, disabled: Collection[str]) -> Config:
        """Return these settings with the accounts in *disabled* switched off by a command."""
        off = {account.id for account in self.accounts if account.enabled and account.id in disabled}
        if not off:
            return self
        return replace(self, accounts=tuple(
            replace(account, enabled=False, switched_off=True) if account.id in off else account
            for account in self.accounts
        ))  # fmt: skip

    @property
    def credential_headers(self) -> tuple[CredentialHeader, ...]:
        """The headers of their own in which providers of the accounts get a key."""
        forms = (account.provider.credential for account in self.accounts)
        return tuple(dict.fromkeys(form for form in forms if isinstance(form, CredentialHeader)))
