"""What was sent with one attempt, and when its answer came: stored with the flow, and read back by `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, field, to_builtins
from msgspec.structs import replace

from ..ledger import Entry
from ..values.account import Depth, Echo
from .host_habits import Standing

VERSION = 1
LATER, BROKEN = "recorded by a later release of Patchbay", "its record is broken"
# What was counted before records named their kinds: version 0, which had no member for its version either.
_KINDS_OF_0 = (
    "age", "created", "date", "disorder", "early", "echo", "framing", "id", "kept", "loose", "model", "over",
    "provider_id", "settings", "shape", "stray", "text", "token", "took", "tool",
)  # fmt: skip


class Moment(Struct, frozen=True, array_like=True, order=True):
    """When something happened: *number* is its place among all that this instance saw, *clock* the time."""

    number: int
    clock: float


class Owner(Struct, frozen=True, array_like=True):
    """Another exchange whose id an answer brought: another instance's stands in no other record."""

    exchange: str
    request_id: str
    at: float
    digest: str


class AttemptRecord(Struct):
    """
    One attempt, as it is stored: with the request and the answer it is all that its verdict comes from.

    *expected*: place → the value that must come back there. *own* are ids of the client that went up with it,
    *client_id* the one of them that stands in for ours, *earlier* the ids of this exchange's attempts before.
    *promised*, *headers* and *body* are the provider's echo. *generation*: the answer is made for this request alone;
    one that is fetched from a store is legally another request's. *silent* are the detectors that are switched off.

    *at*, *seen* and *ended* are moments: when the attempt was sent, when each fact came, and its
    end. *kinds* names the kinds of facts that *seen* counts, since another release may look at more or fewer of them.
    *early*: the head came before the request had gone up; *whole*: the answer came to its end. *owners* are other
    exchanges whose ids the answer brought, *habits* says how the host's rules stood when they were first asked about.

    Members may be added at any time: readers skip those they do not know. A change in what a member means needs a new
    VERSION, and a record of a version above its own is not judged again by a reader.
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
    owners: dict[str, Owner] = {}

    @property
    def echo(self) -> Echo:
        """Where a request id may come back, by the provider."""
        return Echo(headers=self.headers, body=self.body, promised=self.promised)

    @property
    def end(self) -> Moment | None:
        """When the answer ended, if it did."""
        return Moment(int(self.ended[0]), self.ended[1]) if self.ended else None

    def entry(self, now: float, words: bytes = b"") -> Entry:
        """Return what the ledger says of the attempt, which was sent *now*."""
        digest = bytes.fromhex(self.digest)
        return Entry(self.exchange, self.request_id, self.account, self.affinity, self.thread, digest, now, words=words)

    def sent_again(self) -> AttemptRecord:
        """Return the record as it was when the attempt was sent."""
        habits = dict(self.habits or {})
        return replace(self, seen=[], ended=[], early=False, whole=False, owners={}, habits=habits)

    def encoded(self) -> dict[str, Any]:
        """Return the record as plain types."""
        told: dict[str, Any] = to_builtins(self)
        return told


def version(stored: Mapping[str, Any]) -> int:
    """Return the version of a stored record; 0 for those of before they had one."""
    named = stored.get("version", 0)
    return named if isinstance(named, int) else VERSION + 1


def read(stored: Mapping[str, Any]) -> AttemptRecord | str:
    """Return the record that is *stored*, or why it cannot be judged by: a dump may come from anywhere."""
    if version(stored) > VERSION:
        return LATER
    try:
        record = convert(stored, AttemptRecord)
    except ValidationError:
        return BROKEN
    return record if len(record.ended) in (0, 2) else BROKEN
