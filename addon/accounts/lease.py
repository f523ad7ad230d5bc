"""What one attempt asks of the pool, and the lease that it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from zlib import crc32

from ..frozen import dataclass
from ..values.account import Account
from ..values.decision import BindingKind, Candidate, Edit, Identity, Outcome, Placement
from ..values.http import Client, Origin, PriorServing
from . import models
from .bindings import Key

_UNEDITED = Edit()
PARTIES = 16  # groups of conversations that take turns in the queue, where the settings name no clients


@dataclass(frozen=True, slots=True)
class Ask:
    """
    What one attempt asks for.

    *destination* None means any (the one-port mode); *reverse* is the upstream of accounts with `base_url: reverse`.
    Only the account *pin* will do, if it is set. *tried* are the accounts of earlier attempts, *ended* their outcomes.
    *opens*: a WebSocket, whose messages come under the limits themselves. *tokens* is an estimate of its size.

    *waiter* names the exchange, in the queue and in faults of several attempts; *recheck* is called when it may be its
    turn. *retry_home* is the home at which it waited out a transient fault: it may be tried again. Until the time
    *preferred_until* it waits rather than take an account of a lower priority, or a refusal. *prior_serving* says how a
    replayed request was served: it goes to the same account and session if possible.

    *others* are further models that it may run; *unreadable* says why its models cannot all be read (empty: they can).
    *path* is set for paths of no dialect, *endpoint* is the suffix of the others. *avoided* are the accounts on which
    its WebSockets failed, and when.
    """

    family: str
    destination: Origin | None
    reverse: Origin | None
    model: str
    identity: Identity
    client: Client
    pin: str = ""
    websocket: bool = False
    tried: frozenset[str] = frozenset()
    ended: Mapping[str, Outcome] = field(default_factory=dict)
    opens: bool = False
    tokens: int = 0
    waiter: str = ""
    recheck: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)
    preferred_until: float = 0.0
    retry_home: str = ""
    prior_serving: PriorServing | None = None
    others: tuple[str, ...] = ()
    unreadable: str = ""
    path: str = ""
    endpoint: str = ""
    avoided: Mapping[str, float] = field(default_factory=dict)

    @property
    def pool(self) -> str:
        """The name of its pool: the accounts of its family at its destination, which can stand in for one another."""
        return f"{self.family or 'any'}@{self.destination or 'any'}"

    @property
    def key(self) -> Key:
        """The key of the conversation's home; without affinity it has none."""
        return Key(self.pool, self.client.scope, self.identity.affinity)

    @property
    def model_key(self) -> Key:
        """The key of the home for this model alone, where the conversation's home does not serve it."""
        return Key(self.pool, self.client.scope, self.identity.affinity, models.bounded(self.model) or "-")

    @property
    def conversation(self) -> str:
        """The name of the conversation across pools; empty: it has none."""
        affinity = self.identity.affinity
        return f"{self.client.scope.hex()} {affinity}" if affinity else ""

    @property
    def party(self) -> bytes:
        """
        The party that takes turns in the queue: a client of the settings, else one of PARTIES groups of conversations.

        So a burst of one tool does not hold up another tool of the same user, which often has the same key, and a look
        at the queue costs the same however many conversations wait in it.
        """
        if self.client.key:
            return self.client.scope
        return bytes([crc32(self.client.scope + self.identity.affinity.encode("utf-8", "replace")) % PARTIES])


@dataclass(frozen=True, slots=True)
class Lease:
    """
    The decision for one attempt: the account that serves it, until it is released, and the edits of the request.

    *ask* is what was asked for. *model* is the provider's name of the model (empty: none). *binding*: `hit` (at home),
    `new`, `reselected` (the home cannot serve), `inherited` (the account of another request of this new conversation,
    of the answer it quotes, of conversations that began alike, or of the request that is replayed), `none` (no
    conversation, a pin, an auxiliary call without a home, or a probe where no account is left). *key* is None where
    nothing is to be bound, *generation* is that of the key. *slot* is the number of an upstream session that is this
    attempt's alone, None where conversations have one each. *home* is the account that the conversation had before
    (empty: none, or it does not matter): that of its binding, or the one that answered its last turn; *left_because*
    says in words why it does not serve. *request_id*, *session_id*, *edit* and *body* are the router's. The account
    names the credential; its value is put in at the wire.
    """

    account: Account
    origin: Origin
    model: str
    pool: str
    lane: str
    binding: BindingKind
    candidates: tuple[Candidate, ...]
    generation: int
    ask: Ask
    key: Key | None
    ticket: int
    slot: int | None
    home: str = ""
    left_because: str = ""
    request_id: str = ""
    session_id: str = ""
    edit: Edit = _UNEDITED
    body: bytes | None = None  # what goes up in place of the client's body; None: the client's own bytes

    @property
    def left(self) -> str:
        """The home that the account stands in for; empty: none."""
        return self.home if self.home != self.account.id else ""

    @property
    def placement(self) -> Placement:
        """What the account is to the conversation once it has answered: the one meaning of home, new and moved."""
        if self.left:
            return Placement("reselected", self.left, self.left_because)
        if self.home:
            return Placement("hit")
        chosen = self.ask.pin or self.ask.prior_serving
        probes = self.binding == "none" and self.ask.identity.affinity and self.ask.identity.binds and not chosen
        return Placement("new" if probes else self.binding)

    @property
    def is_observed(self) -> bool:
        """Whether no account was chosen: the request passes with its client's credential, and counts for none."""
        return not self.account.id
