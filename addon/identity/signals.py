"""Session ids in a request: the places where each may stand, in order of precedence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from ..frozen import dataclass
from ..values import header_names
from ..values.decision import Evidence
from ..values.http import Request
from .references import is_strong

MAX_ID = 256  # characters
_REMEMBERED = 4096  # values, since those of a session come with each of its requests
_SHAPES = 256  # sets of names that requests have
# Words in the place of an id. A placeholder names nothing; a word that a user may have chosen, for one session or for a
# whole application, names the first conversation that comes with it (`is_common`).
_PLACEHOLDERS = frozenset(
    (
        "undefined", "null", "none", "nil", "nan", "true", "false", "string", "n/a", "na", "-1", "empty", "unknown",
        "unset", "default", "test", "example", "placeholder", "changeme", "change-me", "todo", "tbd", "dummy",
        "sample", "anonymous", "session", "session_id", "session-id", "sessionid", "conversation_id",
        "conversation-id", "conversationid", "thread_id", "thread-id", "threadid", "chat_id", "chat-id", "chatid",
        "your_session_id", "your-session-id", "uuid", "id",
    )
)  # fmt: skip
_CONSTANTS = frozenset(
    (
        "default", "main", "global", "common", "app", "application", "prod", "production", "dev",
        "development", "staging", "local", "localhost", "anonymous", "anon", "unknown", "guest", "public", "system",
        "client", "service", "server",
    )
)  # fmt: skip
_NOUNS = frozenset(("session", "conversation", "chat", "thread", "id", "user"))  # may stand beside a constant
_WORD = re.compile(r"[a-z]+")
_ALWAYS_COMMON = ("user", "cache_key")  # tiers that name a person or an application; a long irregular key is neither
_MAYBE_COMMON = ("custom_header", "custom_body", "harness", "generic_header", "body_session")
# Nothing but zeros or signs; templates that were not filled in; a variable without a value, alone or behind a prefix.
_NOTHING = re.compile(
    r"[\W_0]+|[fF]{8}(?:-[fF]{4}){3}-[fF]{12}|x{3,}(?:-x+)*|\$\w+|\$env:\w+|%\w+%|__[A-Za-z]\w*__"
    r"|<.*>|[\[(]?\{[A-Za-z_.\s-]+\}[\])]?"
    r"|.*(?:\$\{.*\}|\{\{.*\}\}|\$\(.*\)|#\{.*\}|<%.*%>|\[object \w+\]).*"
    r"|(?:.*[-_:/.=|#])?[\[(<]?(?:undefined|null|NaN|None|nil)[\])>]?",
    re.DOTALL,
)
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# Claude Code's user, account and session. Gateways replace the user, or put another one before it.
_CLAUDE_USER = re.compile(
    rf"user_[0-9A-Za-z]+_account_[^_]*_session_(?P<session>[0-9A-Za-z-]{{8,256}})|.*_session_(?P<last>{_UUID})"
)
_MAX_USER = 8192  # characters
_MAIN_AGENTS = frozenset(("main", "root", "primary", "default"))  # names of an agent that is no sub-agent
# Most clients send a fresh X-Client-Request-Id each time; these put their session there.
_REUSES_REQUEST_ID = re.compile(r"(?:pi|pi-[\w-]+|codex[\w -]*)/", re.IGNORECASE)
_TURN_METADATA = "x-codex-turn-metadata"
_HEADER = "header "  # prefix of a need that is a header field and no member of the body

ReadSignal = Callable[[Request], Iterable[object]]


@dataclass(frozen=True, slots=True)
class Signal:
    """
    One place where an id of *tier* may stand; *read* gives the values found there, usable or not.

    *needs* names the header fields and members of the body to read; without any of them *read* is not called.
    """

    tier: str
    where: str
    read: ReadSignal
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundId:
    """A usable id, without outer blanks; no placeholder."""

    tier: str
    where: str
    value: str


def usable(value: object) -> str:
    """
    Return *value* as an id: a string of 1 to 256 printable characters, without outer blanks; else the empty string.

    A line end is no blank: it shows a mistake of a script, which the value may share with other sessions.
    """
    return _usable(value) if isinstance(value, str) and len(value) <= MAX_ID * 4 else ""


@lru_cache(_REMEMBERED)
def _usable(value: str) -> str:
    text = value.strip(" \t")
    if not 0 < len(text) <= MAX_ID or not text.isprintable():
        return ""
    if text.lower() in _PLACEHOLDERS or _NOTHING.fullmatch(text):
        return ""
    return text


def is_common(tier: str, value: str) -> bool:
    """Whether the id *value* may be the same for all conversations of a user or an application."""
    if tier in _ALWAYS_COMMON:
        return tier == "user" or not is_strong(value)
    return tier in _MAYBE_COMMON and _is_constant(value)


@lru_cache(_REMEMBERED)
def _is_constant(value: str) -> bool:
    words = set(_WORD.findall(value.lower()))
    return bool(words & _CONSTANTS) and words <= _CONSTANTS | _NOUNS and not any(map(str.isdigit, value))


def names_one(tier: str, value: str) -> bool:
    """Whether *value*, in the place of an id of *tier*, names one conversation: it is usable and not common."""
    return usable(value) != "" and not is_common(tier, value)


class SignalTable:
    """The signals to look for: *custom* ones of the settings, then SIGNALS; found by what a request has."""

    def __init__(self, custom: Iterable[Signal] = ()) -> None:
        self._signals = (*custom, *SIGNALS)
        self._by_header, self._by_member = _by_need(self._signals, True), _by_need(self._signals, False)
        self._known_at = lru_cache(_SHAPES)(self._at)

    def present(self, request: Request) -> tuple[Signal, ...]:
        """Return the signals to read in *request*, in their order."""
        return self._known_at(self._in_headers(request), frozenset(self._by_member.keys() & request.body.names()))

    def first_of_headers(self, request: Request) -> str:
        """Return the first usable id in a header field of its own, or the empty string."""
        signals = self._known_at(self._in_headers(request), frozenset())
        return _first_usable(request, (s.read for s in signals if s.tier != "parent" and s.where.startswith(_HEADER)))

    def _in_headers(self, request: Request) -> frozenset[str]:
        return frozenset(self._by_header.keys() & request.headers.names())

    def _at(self, headers: frozenset[str], members: frozenset[str]) -> tuple[Signal, ...]:
        by_header = [self._by_header[name] for name in headers]
        places: set[int] = set().union(*by_header, *[self._by_member[name] for name in members])
        return tuple([self._signals[place] for place in sorted(places)])


def custom(headers: Iterable[str], members: Iterable[str]) -> tuple[Signal, ...]:
    """Return the signals of a user: fields called one of *headers* (lower case), dotted paths of *members*."""
    paths = (Signal("custom_body", f"body {path}", _numbered_member(path), _outermost(path)) for path in members)
    return (*_headers("custom_header", *headers), *paths)


def find(request: Request, table: SignalTable | None = None) -> tuple[tuple[FoundId, ...], tuple[Evidence, ...]]:
    """Return every usable id of *request* in the order of *table*, and evidence of unusable ones."""
    found: list[FoundId] = []
    unusable: list[Evidence] = []
    for signal in (table or BUILT_IN).present(request):
        values = tuple(signal.read(request))
        for value in values:
            if text := usable(value):
                found.append(FoundId(signal.tier, _where(signal.where, request), text))
                break
        else:
            if values:
                unusable.append(Evidence(signal.tier, signal.where, used=False, why="not usable as an id"))
    return tuple(found), tuple(unusable)


def agent(request: Request) -> str:
    """Return the id of the sub-agent that sent *request*, the empty string for the main agent."""
    name = _first_usable(request, _AGENT)
    return "" if name.lower() in _MAIN_AGENTS else name


def codex_thread(request: Request) -> str:
    """Return Codex's id of the message history, which differs from its session id in sub-agents and forks."""
    return _first_usable(request, _CODEX_THREAD)


def _first_usable(request: Request, readers: Iterable[ReadSignal]) -> str:
    for read in readers:
        for value in read(request):
            if text := usable(value):
                return text
    return ""


def _where(where: str, request: Request) -> str:
    """Return *where* as it stands in *request*: a field's name may be spelt with underscores there."""
    if not where.startswith(_HEADER) or where.removeprefix(_HEADER) in request.headers:
        return where
    other = where.removeprefix(_HEADER).replace("-", "_")
    return _HEADER + other if other in request.headers else where


def _header(name: str) -> ReadSignal:
    spellings = (name, name.replace("-", "_"))

    def read(request: Request) -> Iterator[object]:
        for spelling in spellings:
            if spelling in request.headers:
                yield from request.headers.all(spelling)

    return read if spellings[0] != spellings[1] else lambda request: request.headers.all(name)


def _member(path: str) -> ReadSignal:
    """Read a member of the body; a dotted *path* reaches into objects."""
    outer, *inner = path.split(".")

    def read(request: Request) -> Iterator[object]:
        value = request.body.get(outer)
        for name in inner:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            yield value

    return read


def _numbered_member(path: str) -> ReadSignal:
    """Read a member as `_member` does, also where the id is a number: an application may count its conversations."""
    inner = _member(path)
    return lambda request: [str(value) if type(value) is int else value for value in inner(request)]


def _user_id(request: Request) -> str:
    metadata = request.body.get("metadata")
    value = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return value.strip()  # JSON, around which line ends mean nothing
    return value.strip(" \t") if isinstance(value, str) else ""


def _claude_json(name: str) -> ReadSignal:
    def read(request: Request) -> Iterator[object]:
        text = _user_id(request)
        if text.startswith("{") and (value := _object(text).get(name)) is not None:
            yield value

    return read


def _claude_suffix(request: Request) -> Iterable[object]:
    return filter(None, (_claude_session(_user_id(request)),))


def _claude_session(user: str) -> str:
    match = _CLAUDE_USER.fullmatch(user) if len(user) <= _MAX_USER else None
    return (match["session"] or match["last"]) if match else ""


def _plain_user(request: Request) -> Iterator[object]:
    text = _user_id(request)
    if text and not text.startswith("{") and not _claude_session(text):
        yield text


def _turn(name: str) -> ReadSignal:
    """Read a member of Codex's turn metadata: a header of JSON, repeated in the body."""

    def read(request: Request) -> Iterator[object]:
        for text in request.headers.all(_TURN_METADATA):
            if (value := _object(text).get(name)) is not None:
                yield value
        metadata = request.body.get("client_metadata")
        if isinstance(metadata, dict):
            inner = metadata.get(_TURN_METADATA)
            for place in (metadata, _object(inner) if isinstance(inner, str) else {}):
                if (value := place.get(name)) is not None:
                    yield value

    return read


def _client_request_id(request: Request) -> Iterable[object]:
    if not _REUSES_REQUEST_ID.match(request.headers.get("user-agent")):
        return ()
    return request.headers.all("x-client-request-id")


def _conversation(request: Request) -> Iterator[object]:
    value = request.body.get("conversation")
    if isinstance(value, dict):
        value = value.get("id")
    if value is not None:
        yield value


def _object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _headers(tier: str, *names: str) -> tuple[Signal, ...]:
    return tuple(Signal(tier, f"header {name}", _header(name), (_HEADER + name,)) for name in names)


def _members(tier: str, *paths: str) -> tuple[Signal, ...]:
    return tuple(Signal(tier, f"body {path}", _member(path), _outermost(path)) for path in paths)


def _outermost(path: str) -> tuple[str]:
    return (path.partition(".")[0],)


def _by_need(signals: Iterable[Signal], is_header: bool) -> dict[str, tuple[int, ...]]:
    places: dict[str, tuple[int, ...]] = {}
    for place, signal in enumerate(signals):
        for need in signal.needs:
            if need.startswith(_HEADER) == is_header:
                name = need.removeprefix(_HEADER)
                for spelling in {name, name.replace("-", "_")} if is_header else {name}:
                    places[spelling] = (*places.get(spelling, ()), place)
    return places


_OWN = _HEADER + header_names.SESSION_ID
_IN_TURN = (_HEADER + _TURN_METADATA, "client_metadata")

# The order within a tier is the order here; the order of the tiers is `sessions.order`. Never in this list: ids of
# users, devices, windows, machines, requests, traces and MCP transports: none of them names a conversation.
SIGNALS: tuple[Signal, ...] = (
    Signal("own", _OWN, lambda request: request.headers.all(header_names.SESSION_ID), (_OWN,)),
    *_headers("parent", "x-parent-session-id", "x-session-parent-id"),
    Signal("parent", "body metadata.user_id parent_session_id", _claude_json("parent_session_id"), ("metadata",)),
    Signal("parent", "turn metadata forked_from_thread_id", _turn("forked_from_thread_id"), _IN_TURN),
    *_members("parent", "parent_session_id", "metadata.parent_session_id"),
    *_headers("parent", "x-codex-parent-thread-id"),
    Signal("parent", "turn metadata parent_thread_id", _turn("parent_thread_id"), _IN_TURN),
    *_headers("claude_session", "x-claude-code-session-id"),
    Signal("claude_session", "body metadata.user_id session_id", _claude_json("session_id"), ("metadata",)),
    Signal("claude_session", "body metadata.user_id", _claude_suffix, ("metadata",)),
    *_headers("codex", "session-id"),
    Signal("codex", "turn metadata session_id", _turn("session_id"), _IN_TURN),
    *_headers("codex", "conversation-id", "thread-id"),
    Signal("codex", "turn metadata thread_id", _turn("thread_id"), _IN_TURN),
    *_headers(
        "harness", "x-opencode-session", "x-session-affinity", "x-amp-thread-id", "x-kilocode-taskid",
        "x-roo-task-id", "x-task-id", "x-http-session-id", "x-slot-session-id", "x-qwen-code-session-id",
        "x-grok-conv-id", "agent-session-id", "x-agent-task-id", "x-openwebui-chat-id", "x-hermes-session-id",
        "x-continue-session-id",
    ),
    Signal("harness", "header x-client-request-id", _client_request_id, (_HEADER + "x-client-request-id",)),
    *_headers(
        "generic_header", "x-session-id", "x-conversation-id", "x-thread-id", "x-chat-id", "chat-id",
        "x-litellm-session-id", "x-litellm-trace-id", "x-bf-session-id", "x-merge-thread-id",
        "x-gproxy-session-id", "helicone-session-id",
    ),
    *_members(
        "body_session", "session_id", "sessionId", "sessionID", "request.session_id", "request.sessionId",
        "metadata.session_id", "metadata.sessionId", "conversation_id", "conversationId", "thread_id", "threadId",
        "chat_id", "chatId", "metadata.conversation_id", "metadata.thread_id", "metadata.chat_id",
    ),
    Signal("conversation", "body conversation", _conversation, ("conversation",)),
    *_members("conversation", "previous_response_id", "previous_interaction_id", "thread.previous_message_id"),
    *_members("cache_key", "prompt_cache_key"),
    Signal("user", "body metadata.user_id", _plain_user, ("metadata",)),
)  # fmt: skip

BUILT_IN = SignalTable()
_AGENT = (_header("x-claude-code-agent-id"), _claude_json("agent_id"))
_CODEX_THREAD = (_header("thread-id"), _turn("thread_id"))
