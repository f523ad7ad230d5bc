"""The ground truth: every request that arrived, and whose answer its sender was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """
    One request and what became of it.

    *head_of*, *body_of* and *text_of* are the numbers of the requests whose head, body and words were delivered here;
    *metadata_of* of that whose metadata were; all are the request's own unless a fault changed them, or the provider's
    manners. *sent_digest* is the SHA-256 of the body's bytes.
    *ended*: complete | reset | closed | open | cancelled
    (the client went away) | broken | bug: … | empty while it runs.
    """

    seq: int
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    http: str
    connection: int
    stream: int
    arrived: float
    credential: str = field(default="", repr=False)
    credential_form: str = ""
    account: str = ""
    dialect: str = ""
    model: str = ""
    streaming: bool = False
    mark: str = ""
    received_id: str = ""
    status: int | None = None
    answer_id: str = ""
    item_id: str = ""
    tool_id: str = ""
    text: str = field(default="", repr=False)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    head_of: int = 0
    body_of: int = 0
    text_of: int = 0
    metadata_of: int = 0
    faults: list[str] = field(default_factory=list)
    sent_digest: str = ""
    ended: str = ""
    finished: float | None = None

    @property
    def is_victim(self) -> bool:
        """Whether something was delivered here that belongs to another request."""
        return {self.head_of, self.body_of, self.text_of, self.metadata_of} != {self.seq}

    def end(self, how: str) -> None:
        """Say how the answer ends."""
        self.ended = how

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of *name* (lower case) as it was received, or *default*."""
        return next((value for field, value in self.headers if field.lower() == name), default)

    def as_json(self, *, body: bool = True) -> dict[str, Any]:
        """Return plain values; the body as text, or left out."""
        plain = asdict(self)
        plain["body"] = self.body.decode("utf-8", "replace") if body else None
        plain["is_victim"] = self.is_victim
        return plain


class Truth:
    """The last *limit* records, oldest first."""

    def __init__(self, limit: int = 100_000) -> None:
        self._records: deque[Record] = deque(maxlen=limit)
        self._next = 1

    @property
    def requests(self) -> list[Record]:
        """Return all records in the order of arrival."""
        return list(self._records)  # one step, so it is safe while another thread adds

    def number(self) -> int:
        """Return the number of the next request. Numbers are never used twice."""
        self._next += 1
        return self._next - 1

    def add(self, record: Record) -> None:
        """Remember *record*, whose number `number` has given."""
        record.head_of = record.body_of = record.text_of = record.metadata_of = record.seq
        self._records.append(record)

    def victims(self) -> list[Record]:
        """Return the requests that were given something of another's."""
        return [record for record in self.requests if record.is_victim]

    def of(self, account: str) -> list[Record]:
        """Return the requests under *account*'s credential."""
        return [record for record in self.requests if record.account == account]

    def marked(self, mark: str) -> list[Record]:
        """Return the requests whose last message carried *mark*: more than one when it was sent again."""
        return [record for record in self.requests if record.mark == mark]

    def last(self) -> Record:
        """Return the newest record. Raises IndexError when there is none."""
        return self._records[-1]

    def clear(self) -> None:
        """Forget the records; numbers go on."""
        self._records.clear()

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records))

    def __len__(self) -> int:
        return len(self._records)
