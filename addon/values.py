"""The values that travel between the rooms: frozen, plain, and ignorant of mitmproxy, files and clocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .body import Body
    from .config import Account

Kind = Literal["generation", "resource", "local", "other"]
# Which models a request may run, and where it names them: `model` and its like in the path or the body, each of the
# `requests` of a batch, a file, a tuning job, the messages of a WebSocket; `nothing`; or nobody knows (`unread`).
# `named`: what a request keeps or joins may run a model, which it may name and need not.
Runs = Literal["model", "named", "batch", "file", "tuning", "socket", "nothing", "unread"]
Depth = Literal["none", "edge", "handler", "body", "engine"]
OutcomeKind = Literal[
    "ok", "rate", "quota", "overload", "auth", "permission", "model", "server", "request", "cancelled"
]
VerdictKind = Literal["clean", "suspect", "crosstalk", "unverifiable"]


class Headers:
    """
    An immutable multi-map of header fields, in wire order, looked up without regard to case.

    A value is one field's text as it stood on the wire; repeated fields stay apart.
    """

    __slots__ = ("_index", "fields")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: tuple[tuple[str, str], ...] = tuple(fields)
        self._index: dict[str, list[str]] = {}
        for name, value in self.fields:
            self._index.setdefault(name.lower(), []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of *name* (lower case), or *default*."""
        values = self._index.get(name)
        return values[0] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of *name* (lower case), in order."""
        return tuple(self._index.get(name, ()))

    def names(self) -> KeysView[str]:
        """Return the lower-case names that occur."""
        return self._index.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:  # values may be private; names are enough to read a test failure
        return f"Headers({', '.join(self._index)})"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes: scheme, host (lower case) and port. A credential belongs to exactly one of these."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Client:
    """
    Who asks: a configured client, or everybody on this machine.

    *scope* is a keyed digest of a stable claim, never of a rotating token; empty for the one local scope. *pools*,
    *providers* and *models* are what it may use: words, patterns and patterns; empty: all of them. *key* is a keyed
    digest of the key by which a configured client is known; empty for anybody else.
    """

    scope: bytes = b""
    name: str = "local"
    may_pin: bool = False
    pools: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    key: bytes = field(default=b"", repr=False)

    def may_use(self, provider: str) -> bool:
        """Whether it may use accounts of *provider*."""
        return not self.providers or any(fnmatchcase(provider, pattern) for pattern in self.providers)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    What a path means to a dialect.

    *suffix* is the part after the client's own prefix (`/chat/completions` of `/api/v1/chat/completions`); *model* and
    *stream* are set only where the path says so (Gemini). *dialect* and *family* are empty for a path of no dialect.
    """

    dialect: str = ""
    family: str = ""
    kind: Kind = "other"
    suffix: str = ""
    model: str = ""
    stream: bool = False
    runs: Runs | None = None  # None: what is usual for its kind

    @property
    def asks(self) -> Runs:
        """Where a request for it names the models it runs."""
        return self.runs or _USUALLY.get(self.kind, "unread")


_USUALLY: Mapping[Kind, Runs] = {"generation": "model", "resource": "nothing"}


@dataclass(frozen=True, slots=True)
class Served:
    """
    How a request was served before, as its flow tells: what its replay goes by.

    *account* is empty where none served it, or nothing is known of it. *digest* is that of the request as it was then
    (empty: not known); *edited* says that it is known to have changed since. *slot* is that of the upstream session.
    """

    account: str = ""
    affinity: str = ""
    thread: str = ""
    tier: str = ""
    session_id: str = ""
    slot: int | None = None
    digest: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """
    One client request, with the client's credentials already replaced by a placeholder.

    *path* carries the query. *destination* is where the client wanted it to go. *replay* is there if it is one.
    *address* is the one by which the client reached this proxy; empty: it named the upstream itself.
    """

    method: str
    path: str
    headers: Headers
    body: Body
    endpoint: Endpoint
    destination: Origin
    client: Client = Client()
    replay: Served | None = None
    address: str = ""
    credential_form: str = ""  # the form in which the client sent its own credential, if it sent one


Strength = Literal["exact", "derived", "guess"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal that was found: its tier, where it stood, and whether it was used or why it was not."""

    tier: str
    where: str
    used: bool = True
    why: str = ""
    value: str = field(default="", repr=False)  # the raw id; for `explain`, never for a log


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Whose conversation a request belongs to.

    *owner*: ids of the accounts an account-bound resource allows (None: no constraint). *affinity*: what picks the
    account, 32 hex characters (empty: nothing to hold on to). *thread*: one message history, the same form. *began*: of
    a first turn, what it begins under: its opening, its name, a common id. *near*: the account where the last one began
    that began alike.
    """

    affinity: str = ""
    thread: str = ""
    owner: frozenset[str] | None = None
    tier: str = ""
    strength: Strength = "guess"
    value: str = field(default="", repr=False)  # the raw id the tier found, if it found one
    binds: bool = True  # False: a side call, which may follow a binding but never makes or moves one
    evidence: tuple[Evidence, ...] = ()
    home: str = ""  # the account that gave the answer this request quotes: where an affinity without a binding is warm
    began: tuple[str, ...] = ()
    near: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes for one attempt, against what the client sent. A header value of None takes the header off."""

    headers: tuple[tuple[str, str | None], ...] = ()
    path: str = ""
    body: Mapping[str, object] = field(default_factory=dict)  # dotted member path → JSON value


@dataclass(frozen=True, slots=True)
class Route:
    """The decision for one attempt. The credential is named by its account; its value is put in at the wire."""

    account: Account
    origin: Origin
    request_id: str
    session_id: str
    attempt: int
    edit: Edit
    body: bytes | None = None  # what goes up in place of the client's body; None: the client's own bytes
    binding: str = "none"  # hit | new | reselected | inherited | none
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is free now; ask again at *until* (the clock's seconds) or earlier when something was released."""

    until: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    An answer of ours. *code* is a stable word for programs, *message* a sentence for people.

    *fields* go beside them inside the error object; *retry_after* is in seconds. *final*: the same request will not
    be served in the next minutes, so a client that tries again by itself only keeps its user waiting. *lasts* is the
    time in seconds until the cause is expected to end; Patchbay probes earlier, after *retry_after*.
    """

    status: int
    code: str
    message: str
    retry_after: float | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    final: bool = False
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an upstream's answer; *early*: it came before the request had gone up."""

    status: int
    headers: Headers
    early: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer's body, as it came (content-encoding still on)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a WebSocket, as the upstream sent it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The upstream finished its answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    The upstream could not be reached, or broke off. *kind*: connect | reset | lost | timeout.

    `lost`: the connection ended, and other requests that shared it may be the reason. *counted*: it was told before of
    another request on the same connection.
    """

    kind: str
    message: str
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """The answer has been held back as long as it may be."""


Answer = Head | Chunk | Message | End | Failure | Overdue
Reaction = Literal["deliver", "hold", "next", "cut"]


@dataclass(frozen=True, slots=True)
class Fact:
    """
    One thing an answer said about itself.

    *kind*: `id` (the provider's id of the answer), `echo` (a value in a place where a request id may come back),
    `model`, `usage`, `content` (the first semantic event), `text`, `tool`, `error`, `created`, `end`, `malformed` ….
    *where* names the place (`header x-request-id`, `body request_id`); *depth* grades who must have written it.
    """

    kind: str
    value: object = None
    where: str = ""
    depth: Depth = "none"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them. *prompt* includes what was read from its cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What an answer says about its account. *until* is the time before which the account asks not to be used.

    *certain*: a code or the status says it, and no words alone. *bare*: nothing but the status, so that it may be about
    this one request. *said* is what went wrong, in words for people, where no answer came.
    """

    kind: OutcomeKind
    until: float | None = None
    scope: Literal["lane", "account", "none"] = "lane"
    detail: str = ""
    certain: bool = field(default=False, compare=False)
    bare: bool = field(default=False, compare=False)
    said: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one detector saw.

    *strength*: proof | strong | weak. *victim* is the exchange whose answer this is, or `unknown`. *disputed*: that one
    and this one got the same answer at the same time, and which of them it belongs to cannot be known.
    """

    detector: str
    family: str
    strength: Literal["proof", "strong", "weak"]
    where: str
    expected: str
    received: str
    victim: str = "unknown"
    disputed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all findings about one answer amount to. *echo* is where our id came back, if it did."""

    kind: VerdictKind
    findings: tuple[Finding, ...] = ()
    echo: str = ""
    victim: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """
    Something worth remembering beyond this process; *rank* and *expires* are in the clock's seconds.

    Of two with the same *kind* and *key* the one of the greater `order` stays, whoever wrote it and whichever comes
    first. An empty *value* says that it is over.
    """

    kind: str
    key: str
    value: str
    rank: float
    expires: float

    @property
    def order(self) -> tuple[float, float, str]:
        return self.rank, self.expires, self.value


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, as a decision records it."""

    account: str
    request_id: str
    status: int | None
    outcome: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account that was considered, and why it was not taken (empty for the one that was)."""

    account: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that was decided about one exchange; the journal, the flow's comment and `explain` render it."""

    exchange: str
    time: float
    client: str
    method: str
    path: str
    dialect: str
    endpoint: str
    model: str
    stream: bool
    pool: str
    identity: Identity
    binding: str
    account: str
    provider: str
    request_id: str
    client_request_id: str
    session_id: str
    candidates: tuple[Candidate, ...]
    attempts: tuple[Tried, ...]
    status: int | None
    event_type: str
    error: str
    duration: float
    first_byte: float | None
    usage: Usage | None
    in_flight: int
    verdict: Verdict
    mode: str = "serve"  # shadow: nothing of it was carried out
