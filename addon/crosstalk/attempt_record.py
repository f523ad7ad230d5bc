"""The attempt record: what was sent, and when the answer came; stored with the flow and read back by `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, field, to_builtins
from msgspec.structs import replace

from ..ledger import Entry
from ..values.account import Depth, Echo
from .host_habits import Standing
from .prompt_lengths import Expected

VERSION = 1
LATER, BROKEN = "recorded by a later release of Patchbay", "its record is broken"
# The kinds of version 0, whose records name neither their kinds nor their version.
_KINDS_OF_0 = (
    "age", "created", "date", "disorder", "early", "echo", "framing", "id", "kept", "loose", "model", "over",
    "provider_id", "settings", "shape", "stray", "text", "token", "took", "tool",
)  # fmt: skip


class Moment(Struct, frozen=True, array_like=True, order=True):
    """A point in the order of events: *number* is the tick of this instance, *clock* the time."""

    number: int
    clock: float


class IdOwner(Struct, frozen=True, array_like=True):
    """Another exchange whose id an answer brought. The record is the only source if another instance owns it."""

    exchange: str
    request_id: str
    at: float
    digest: str
    affinity: str = ""

    @classmethod
    def of(cls, other: Entry) -> IdOwner:
        """Return the owner of the ids of *other*."""
        return cls(other.exchange, other.request_id, other.at, other.digest.hex(), other.affinity)

    @property
    def entry(self) -> Entry:
        """The exchange as an entry of the ledger."""
        digest = bytes.fromhex(self.digest)
        return Entry(self.exchange, self.request_id, affinity=self.affinity, digest=digest, at=self.at)


class AttemptRecord(Struct):
    """
    One attempt as stored. Record, request and answer together determine the verdict.

    *expected*: place → the value that must come back there. *own*: the client's ids that went up; *client_id*: the one
    among them that replaces ours; *earlier*: the ids of this exchange's earlier attempts. *promised*, *headers* and
    *body* are the provider's echo. *generation*: the answer is made for this request alone, not fetched from a store.
    *silent*: disabled detectors.

    *at*, *seen* and *ended* are the moments of the sending, of each fact and of the end. *kinds*: the kinds of facts
    that *seen* counts; releases differ in them. *early*: the head came before the request had gone up; *whole*: the
    answer is complete. *owners*: other exchanges whose ids the answer brought. *habits*: the standing of the host's
    rules at their first use. *lengths*: what was known at the sending of how long prompt and answer are.
    *compared*: the id of the answer whose request the provider was to compare with this one, if Patchbay asked for it.
    *elsewhere*: exchanges of other instances that were under way with an earlier one, about which the answer tells.

    Readers skip unknown members. A changed meaning needs a new VERSION; readers do not judge records of later ones.
    """

    request_id: str
    exchange: str
    account: str
    affinity: str
    thread: str
    digest: Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]
    expected: dict[str, str]
    own: list[str]
    earlier: list[str]
    client_id: str
    promised: bool
    headers: dict[str, Depth]
    body: dict[str, Depth]
    generation: bool
    host: str
    silent: list[str]
    model: str
    stream: bool
    dialect: str
    suffix: str
    at: Moment
    seen: list[Moment] = []
    early: bool = False
    whole: bool = False
    ended: list[float] = []  # the two members of a moment, or none
    version: int = 0
    kinds: list[str] = field(default_factory=lambda: list(_KINDS_OF_0))
    habits: dict[str, Standing] | None = None
    owners: dict[str, IdOwner] = {}
    lengths: Expected | None = None  # before the sending, and in records of earlier releases
    compared: str | None = None
    elsewhere: list[IdOwner] = []

    @property
    def echo(self) -> Echo:
        """The provider's echo."""
        return Echo(headers=self.headers, body=self.body, promised=self.promised)

    @property
    def end(self) -> Moment | None:
        """The end of the answer, if it has come."""
        return Moment(int(self.ended[0]), self.ended[1]) if self.ended else None

    def entry(self, now: float, words: bytes = b"") -> Entry:
        """Return the ledger's entry of the attempt, sent *now*."""
        digest = bytes.fromhex(self.digest)
        return Entry(self.exchange, self.request_id, self.account, self.affinity, self.thread, digest, now, words=words)

    def sent_again(self) -> AttemptRecord:
        """Return the record as of the sending."""
        habits = dict(self.habits or {})
        return replace(self, seen=[], ended=[], early=False, whole=False, owners={}, habits=habits)

    def encoded(self) -> dict[str, Any]:
        """Return the record as plain types."""
        told: dict[str, Any] = to_builtins(self)
        return told


def version(stored: Mapping[str, Any]) -> int:
    """Return the version of a stored record; 0 where it names none."""
    named = stored.get("version", 0)
    return named if isinstance(named, int) else VERSION + 1


def read(stored: Mapping[str, Any]) -> AttemptRecord | str:
    """Return the *stored* record, or the reason why it is unusable: a dump may come from anywhere."""
    if version(stored) > VERSION:
        return LATER
    try:
        record = convert(stored, AttemptRecord)
    except ValidationError:
        return BROKEN
    return record if len(record.ended) in (0, 2) else BROKEN
