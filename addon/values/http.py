"""A request and its parts: headers, origin, client, endpoint. Without mitmproxy, files or clocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ..frozen import dataclass

if TYPE_CHECKING:
    from ..body import Body

Kind = Literal["generation", "resource", "local", "other"]
# Where a request names the models that it may run: `model` and its like in the path or the body, each of the
# `requests` of a batch, a file, a tuning job, the messages of a WebSocket; `nothing`: it runs none; `unread`: unknown.
# `named`: an object that the request stores or extends may run a model, and may name it.
ModelSource = Literal["model", "named", "batch", "file", "tuning", "socket", "nothing", "unread"]
DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


class Headers:
    """
    An immutable multi-map of header fields, in wire order, looked up without regard to case.

    A value is one field's text as it stood on the wire; repeated fields stay apart.
    """

    __slots__ = ("_first", "_lowered", "fields")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: tuple[tuple[str, str], ...] = tuple(fields)
        self._lowered = [(name.lower(), value) for name, value in self.fields]
        self._first = dict(self._lowered)  # the first value of each name
        if len(self._first) < len(self._lowered):
            self._first.update(reversed(self._lowered))

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of *name* (lower case), or *default*."""
        return self._first.get(name, default)

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of *name* (lower case), in order."""
        return tuple([value for held, value in self._lowered if held == name]) if name in self._first else ()

    def names(self) -> KeysView[str]:
        """Return the lower-case names that occur."""
        return self._first.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:  # values may be private; names are enough to read a test failure
        return f"Headers({', '.join(self._first)})"


class Origin(Struct, frozen=True):
    """The scheme, host (lower case) and port of a request. A credential belongs to exactly one origin."""

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
    The sender of a request: a configured client, or the local scope of this machine.

    *scope* is a keyed digest of a stable claim, never of a rotating token; empty for the local scope. *pools* (words),
    *providers* and *models* (patterns) are its rights; empty: all. *key* is a keyed digest of a configured client's
    key, empty for other clients.
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
    A path as a dialect reads it.

    *suffix* is the part after the client's own prefix (`/chat/completions` of `/api/v1/chat/completions`); *model* and
    *stream* are set only where the path has them (Gemini). *dialect* and *family* are empty for a path of no dialect.
    """

    dialect: str = ""
    family: str = ""
    kind: Kind = "other"
    suffix: str = ""
    model: str = ""
    stream: bool = False
    source: ModelSource | None = None  # None: the default of *kind*

    @property
    def model_source(self) -> ModelSource:
        """Where a request for it names the models it runs; see `ModelSource`."""
        return self.source or _DEFAULT_SOURCE.get(self.kind, "unread")


_DEFAULT_SOURCE: Mapping[Kind, ModelSource] = {"generation": "model", "resource": "nothing"}


@dataclass(frozen=True, slots=True)
class PriorServing:
    """
    How a replayed request was served before, from its flow's metadata.

    *account* is empty where none served it or it is unknown. *digest*: the request's at that time (empty: unknown);
    *edited*: the request has changed since. *slot* is that of the upstream session.
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

    *path* includes the query. *destination* is the origin that the client addressed. *replay* is set on a replay.
    *address* is the one by which the client reached this proxy; empty: the client named the upstream itself.
    """

    method: str
    path: str
    headers: Headers
    body: Body
    endpoint: Endpoint
    destination: Origin
    client: Client = Client()
    replay: PriorServing | None = None
    address: str = ""
    credential_form: str = ""  # the form of the credential that the client sent, if any
