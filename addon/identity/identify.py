"""
From a request to its `Identity`: the owner of its references, the affinity that picks an account, and the thread.

Tiers are tried in the order of `sessions.order`. The first that gives an identity decides; the others become evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..frozen import replace
from ..ledger import Entry, Ledger
from ..settings.settings import SessionSettings
from ..values import header_names
from ..values.answer import Fact
from ..values.decision import Evidence, EvidenceStrength, Identity
from ..values.http import Request
from . import auxiliary_calls, references, signals
from .account_resources import AccountResources
from .aliases import Aliases
from .client_resources import ClientResources
from .first_turns import FirstTurns
from .history_cache import HistoryCache, is_long
from .learn import CONTENT_THREADS, Learner
from .lineage import Lineage
from .prefixes import Prefixes
from .references import Reference
from .seeds import Seeds
from .shared_keys import SharedKeys
from .signals import FoundId, is_common
from .truncated_history import TruncatedHistories
from .turns import Conversation

_PER_SESSION = 4  # ids and prefixes in memory for each session of the limit
_STRENGTH: dict[str, EvidenceStrength] = {"cache_key": "derived", "user": "guess", "content": "guess"}
_WITHOUT_IDS = frozenset(("parent", "token", "conversation", "content"))  # tiers that need no id of their own
_ISOLATED = frozenset(("own", "user"))  # ids of these tiers neither lend nor borrow an affinity


@dataclass(slots=True)
class _Query:
    request: Request
    now: float
    ids: tuple[FoundId, ...]
    parents: tuple[FoundId, ...]
    outline: Request | None = None  # the request without its known history
    exchange: str = ""
    evidence: list[Evidence] = field(default_factory=list)
    conversation: Conversation | None = None  # once it was read
    is_auxiliary: bool | None = None  # once it was asked
    common: list[str] = field(default_factory=list)  # seeds of common ids that do not name this conversation

    @property
    def outer(self) -> Request:
        """The request for readers of everything but its history."""
        return self.outline or self.request

    @property
    def agent(self) -> str:
        return signals.agent(self.outer)

    @property
    def scope(self) -> bytes:
        return self.request.client.scope

    @property
    def is_readable(self) -> bool:
        """Whether the body holds a history, which may name the conversation."""
        endpoint = self.request.endpoint
        return endpoint.dialect != "" and (
            auxiliary_calls.converses(endpoint) or auxiliary_calls.counts_tokens(self.request)
        )

    @property
    def serves_a_chat(self) -> bool:
        """Whether this is an auxiliary call beside a chat; a longer history is none."""
        if self.is_auxiliary is None:
            is_long = self.conversation is not None and self.conversation.messages > auxiliary_calls.TITLE_MESSAGES
            self.is_auxiliary = not is_long and auxiliary_calls.serves_a_chat(self.request)
        return self.is_auxiliary

    def first(self, tier: str) -> FoundId | None:
        """Return the first id of *tier*."""
        for found in self.ids:
            if found.tier == tier:
                return found
        return None

    def note(self, tier: str, where: str, why: str = "", value: str = "") -> None:
        """Add evidence: of a used signal, or with *why* of an unused one."""
        self.evidence.append(Evidence(tier, where, used=not why, why=why, value=value))


class Identifier:
    """
    Identifies requests, and learns from their answers.

    *key* is a secret of 32 bytes; *ledger* keeps the tokens of answers. No content of a request makes it raise.
    """

    def __init__(self, key: bytes, sessions: SessionSettings, ledger: Ledger) -> None:
        self._use(sessions)
        self._seeds = Seeds(key)
        self._lineage = Lineage(self._seeds, ledger)
        self.aliases = Aliases(sessions.limit * _PER_SESSION, sessions.ttl)
        self.client_resources = ClientResources(self._seeds, ledger)
        self.account_resources = AccountResources(self._lineage, self.client_resources, sessions.ttl)
        self._prefixes = Prefixes(self._seeds, sessions.limit * _PER_SESSION, sessions.ttl)
        self._shared_keys = SharedKeys(sessions.limit, sessions.ttl)
        self._histories = HistoryCache(sessions.limit, sessions.ttl)
        self._truncated = TruncatedHistories(self._lineage, Lineage(self._seeds, ledger, "recall"), sessions.ttl)
        self._first_turns = FirstTurns(self._seeds, self._lineage, sessions.ttl)
        self._learner = Learner(
            self._seeds,
            self._lineage,
            self.client_resources,
            self._prefixes,
            self._histories,
            self._truncated,
            self._first_turns,
            sessions.ttl,
        )

    def identify(self, request: Request, now: float, exchange: str = "") -> Identity:
        """
        Return the identity of *request*.

        *exchange* is unique for each request: a first turn then counts as under way until `close` is called. Without it
        nothing is held.
        """
        query = self._query(request, now, exchange)
        if "off" in [found.value.lower() for found in query.ids if found.tier == "own"]:
            query.note("own", f"header {header_names.SESSION_ID}", value="off")
            return self._with_owner(query, Identity(tier="own"))
        present = {found.tier for found in query.ids} | _WITHOUT_IDS
        for tier in self._sessions.order:
            if tier in present and (identity := self._by_tier(tier, query)):
                self._note_unused(query, identity)
                return self._finished(query, identity)
        self._note_unused(query, Identity())
        return self._with_owner(query, Identity())

    def learn(self, request: Request, identity: Identity, account: str, facts: Sequence[Fact], now: float) -> None:
        """Remember that *account* answered *request* with *facts*."""
        self._learner.learn(request, identity, account, facts, now)

    def close(self, identity: Identity) -> None:
        """End the exchange of *identity*: without an answer learned by now, its first turn counts as not sent."""
        self._first_turns.release(identity.opening_marks)

    def reload(self, sessions: SessionSettings) -> None:
        """Let *sessions* hold from the next request on; everything learned stays."""
        self._use(sessions)
        self.aliases.resize(sessions.limit * _PER_SESSION, sessions.ttl)
        self._prefixes.resize(sessions.limit * _PER_SESSION, sessions.ttl)
        self._learner.ttl = self._truncated.ttl = self._first_turns.ttl = sessions.ttl
        self.account_resources.resize(sessions.ttl)
        self._shared_keys.resize(sessions.limit, sessions.ttl)
        self._histories.resize(sessions.limit, sessions.ttl)

    def _use(self, sessions: SessionSettings) -> None:
        self._sessions = sessions
        self._signals = signals.SignalTable(signals.custom(sessions.headers, sessions.body))
        self._known = frozenset(sessions.order)

    def _query(self, request: Request, now: float, exchange: str) -> _Query:
        outline = self._outline(request, now)
        found, unusable = signals.find(outline or request, self._signals)
        ids = tuple([item for item in found if item.tier in self._known and item.tier != "parent"])
        parents = tuple([item for item in found if item.tier in self._known and item.tier == "parent"])
        query = _Query(request, now, ids, parents, outline, exchange, list(unusable))
        for item in found:
            if item.tier not in self._known:
                query.note(item.tier, item.where, "not in sessions.order", item.value)
        return query

    def _outline(self, request: Request, now: float) -> Request | None:
        if not is_long(request.body):
            return None
        name = self._signals.first_of_headers(request)
        session = self._seeds.of_id("familiar", request.client.scope, name) if name else ""
        body = self._histories.shortened(request, session, now)
        return replace(request, body=body) if body else None

    def _by_tier(self, tier: str, query: _Query) -> Identity | None:
        match tier:
            case "parent":
                return self._by_parent(query)
            case "token":
                return self._by_token(query)
            case "content":
                return self._by_content(query)
            case "conversation":
                return self._by_reference(query) or self._by_id(tier, query)
            case "cache_key" if self._is_shared_key(query):
                return None
        if found := self._common_id(tier, query):
            return self._by_history(query) or (self._by_id(tier, query) if self._names(found, query) else None)
        return self._by_id(tier, query)

    def _common_id(self, tier: str, query: _Query) -> FoundId | None:
        found = query.first(tier)
        if found is None or not is_common(tier, found.value) or "content" not in self._sessions.order:
            return None
        return found if query.is_readable and self._conversation(query).root >= 0 else None

    def _names(self, found: FoundId, query: _Query) -> bool:
        """Whether the common id *found* names this conversation: the first that began under it, if that is known."""
        seed = self._seed_of(found, query)
        entry = self._first_turns.find(query.scope, seed, query.now)
        alone = entry is not None and entry.affinity != ""
        taken = self._first_turns.is_taken(query.scope, seed, query.now)
        if not taken or (alone and self._conversation(query).first_answer >= 0):
            return True
        query.common.append(seed)
        query.note(found.tier, found.where, "another conversation began under it", found.value)
        return False

    def _by_history(self, query: _Query) -> Identity | None:
        linked = self._by_token(query) if "token" in self._sessions.order else None
        return linked or self._by_known_history(query)

    def _by_id(self, tier: str, query: _Query) -> Identity | None:
        found = query.first(tier)
        if found is None:
            return None
        seed = self._seed_of(found, query)
        known = self.aliases.find(seed, query.now)
        affinity = self.aliases.lead(seed, seed if known else self._borrowed(found, seed, query), query.now)
        self._lend(found, seed, affinity, query)
        query.note(tier, found.where, value=found.value)
        strength = _STRENGTH.get(tier, "exact")
        return Identity(affinity, self._thread(found, query), tier=tier, strength=strength, value=found.value)

    def _by_parent(self, query: _Query) -> Identity | None:
        """Identify by a declared parent, whose affinity holds; the thread is the child's own."""
        if self._sessions.subagents == "isolate" or not query.parents:
            return None
        own = [item for item in query.ids if item.tier not in ("own", "user", "cache_key")]
        seeds = [self._seeds.of_id("id", query.scope, item.value) for item in own]
        for parent in query.parents:
            seed = self._seeds.of_id("id", query.scope, parent.value)
            if why := self._why_no_parent(parent, seed, seeds, query):
                query.note("parent", parent.where, why, parent.value)
                continue
            affinity = self.aliases.lead(seed, seed, query.now)
            if seeds and affinity != seeds[0]:
                affinity = self.aliases.lead(seeds[0], affinity, query.now)
            query.note("parent", parent.where, value=parent.value)
            thread = self._thread(own[0], query) if own else self._content_thread(query)
            return Identity(affinity, thread, tier="parent", strength="exact", value=parent.value)
        return None

    def _why_no_parent(self, parent: FoundId, seed: str, seeds: Sequence[str], query: _Query) -> str:
        if seed in seeds:
            return "names itself"
        if seeds and self.aliases.resolve(seed, query.now) == seeds[0]:
            return "is a child of this one"
        if self.aliases.find(seed, query.now):
            return ""
        if seeds and self.aliases.find(seeds[0], query.now):
            return "unknown, and the child is under way"
        # Codex names the root of the whole tree beside the parent; one level up is less than that.
        inside = "parent_thread_id" in parent.where or "parent-thread-id" in parent.where
        return "unknown, inside a named session" if inside and seeds else ""

    def _by_reference(self, query: _Query) -> Identity | None:
        for reference, where in self._references(query):
            entry = self._lineage.find(query.scope, reference.value, query.now)
            if entry and entry.affinity:
                query.note("conversation", where, value=reference.value)
                return self._linked("conversation", entry, reference.value, query)
        return None

    def _references(self, query: _Query) -> Iterator[tuple[Reference, str]]:
        for found in query.ids:
            if found.tier == "conversation":
                yield Reference("reference", found.value), found.where
        if query.request.endpoint.kind == "resource":
            for reference in references.of_path(query.request.path):
                if reference.links:
                    yield reference, "path"

    def _by_token(self, query: _Query) -> Identity | None:
        link = self._link(query)
        if link is None:
            return None
        reference, entry = link
        value = reference.value[: signals.MAX_ID] if reference.place != "text" else ""  # texts stay out of evidence
        query.note("token", f"history {reference.place}", value=value)
        return self._linked("token", entry, value, query)

    def _linked(self, tier: str, entry: Entry, value: str, query: _Query) -> Identity:
        affinity = self.aliases.resolve(entry.affinity, query.now)
        thread = entry.thread or self._content_thread(query)
        return Identity(affinity, thread, tier=tier, strength="exact", value=value, home=entry.account)

    def _by_content(self, query: _Query) -> Identity | None:
        if not query.is_readable:
            return None
        if self._conversation(query).root < 0:
            query.note("content", "body", "the user says nothing")
            return None
        return (
            self._by_known_history(query)  # a prefix that was served, or a first turn with its answer
            or self._by_quoted_chat(query)  # an auxiliary call quotes the chat that it serves
            or self._by_remains(query)  # a client has compacted or cut the history
            or self._by_first_turn(query, "opening")
        )

    def _by_known_history(self, query: _Query) -> Identity | None:
        """Identify by the longest known prefix, else by the first turn. A history that several share names none."""
        scope, conversation, now = query.scope, self._conversation(query), query.now
        if conversation.first_answer < 0:
            return None
        entry = self._prefixes.find(scope, conversation, now) or self._first_turns.find_history(
            scope, conversation, now
        )
        if entry is None or not entry.affinity:
            return None
        query.note("content", "known history")
        return replace(self._linked("content", entry, "", query), strength="derived")

    def _by_quoted_chat(self, query: _Query) -> Identity | None:
        if "token" not in self._sessions.order or not query.serves_a_chat:
            return None
        quoted = self._truncated.quoted(query.request, query.now)
        if quoted is None:
            return None
        query.note("token", "quote")
        return replace(self._linked("token", quoted, "", query), thread=self._content_thread(query))

    def _by_remains(self, query: _Query) -> Identity | None:
        if "token" not in self._sessions.order or query.serves_a_chat:
            return None
        found = self._truncated.find(query.request, self._conversation(query), query.now)
        if found is None:
            return None
        if not found.continues:
            return replace(self._by_first_turn(query, f"opening, with a {found.where}"), home=found.entry.account)
        query.note("token", f"history {found.where}")
        identity = replace(self._linked("token", found.entry, "", query), strength="derived")
        # a compacted history is a new thread from here on; a window is the same thread
        return replace(identity, thread=self._content_thread(query)) if found.where == "summary" else identity

    def _by_first_turn(self, query: _Query, where: str) -> Identity:
        query.note("content", where)
        first = self._first_user_turn(query.scope, self._conversation(query))
        return Identity(first, self._content_thread(query), tier="content")

    def _begun(self, query: _Query, identity: Identity) -> Identity:
        """
        Return *identity*, if it is of a first turn, with its marks and an affinity that no other conversation has.

        A later conversation with an equal first turn may be its retry, so it begins at that account if it has room.
        """
        named = identity.tier != "content"
        begins = is_common(identity.tier, identity.value) if named else identity.strength == "guess"
        if not begins or query.conversation is None or query.conversation.root < 0:
            return identity
        scope, now, turns = query.scope, query.now, self._first_turns
        opening, name = turns.mark_of(scope, query.conversation), identity.affinity
        again = turns.is_taken(scope, opening, now)
        taken = not named and (again or turns.is_taken(scope, name, now))
        if taken:
            query.note("content", "opening", "another conversation began so")
            near = identity.home or turns.account_near(scope, (opening, *query.common), now)
            identity = replace(identity, affinity=turns.fresh_affinity(scope, name, query.exchange), near=near, home="")
        elif not named and query.common:
            identity = replace(identity, near=turns.account_near(scope, query.common, now))
        if again or taken or query.common:  # the thread of the history is another conversation's already
            identity = replace(identity, thread=self._seeds.derive("began", scope, "thread", identity.affinity))
        common = [self._seed_of(item, query) for item in query.ids if is_common(item.tier, item.value)]
        marks = tuple(dict.fromkeys((opening, identity.affinity, *common)))
        if query.exchange:
            turns.hold(marks)
        return replace(identity, opening_marks=marks)

    def _is_shared_key(self, query: _Query) -> bool:
        found = next((item for item in query.ids if item.tier == "cache_key"), None)
        if found is None or not query.is_readable or self._conversation(query).root < 0:
            return False
        key = self._seeds.of_id("bucket", query.scope, found.value)
        opening = self._first_user_turn(query.scope, self._conversation(query))
        shared = self._shared_keys.is_shared(key, opening, query.now)
        if shared:
            query.note("cache_key", found.where, "many conversations began under it", found.value)
        return shared

    def _conversation(self, query: _Query) -> Conversation:
        if query.conversation is None:
            query.conversation = self._histories.conversation(query.request)
        return query.conversation

    def _first_user_turn(self, scope: bytes, conversation: Conversation) -> str:
        return self._seeds.derive("content", scope, conversation.turns[conversation.root].digest)

    def _note_unused(self, query: _Query, chosen: Identity) -> None:
        used = {(item.tier, item.where) for item in query.evidence}
        why = f"{chosen.tier} comes first" if chosen.tier else "not used"
        for found in (*query.parents, *query.ids):
            if (found.tier, found.where) not in used:
                query.note(found.tier, found.where, why, found.value)

    def _finished(self, query: _Query, identity: Identity) -> Identity:
        endpoint = query.request.endpoint
        named = identity.tier not in ("token", "content", "user", "cache_key")
        talks = auxiliary_calls.converses(endpoint) or (named and endpoint.dialect == "")
        binds = talks and not auxiliary_calls.wants_no_answer(query.outer) and (named or not query.serves_a_chat)
        return self._with_owner(query, self._begun(query, identity) if binds else identity, binds)

    def _with_owner(self, query: _Query, identity: Identity, binds: bool = False) -> Identity:
        """Add the owner, last: it is found faster in a history that was read for the affinity."""
        owner, evidence = self.account_resources.owner(query.request, query.outline, query.now)
        return replace(identity, binds=binds, owner=owner, evidence=(*query.evidence, *evidence))

    def _thread(self, found: FoundId, query: _Query) -> str:
        """Return the thread of an explicit id, or of the history if several histories share the id."""
        if found.tier in CONTENT_THREADS:
            return self._content_thread(query)
        if query.agent:
            return self._seeds.of_id("thread", query.scope, found.value, query.agent)
        inner = signals.codex_thread(query.outer) if found.tier == "codex" else ""
        return self._seeds.of_id("thread", query.scope, inner or found.value)

    def _content_thread(self, query: _Query) -> str:
        """Return the thread of the history. It is final from the first answer on, which tells equal openings apart."""
        if not query.is_readable:
            return ""
        conversation = self._conversation(query)
        if conversation.root < 0:
            return ""
        seed = self._prefixes.thread_seed(query.scope, conversation)
        named = self._prefixes.named(query.scope, seed, query.now) if conversation.first_answer >= 0 else None
        return named.thread if named else seed

    def _seed_of(self, found: FoundId, query: _Query) -> str:
        """Return the seed of an id. Explicit ids share one namespace, wherever they stand; users have their own."""
        if found.tier == "user":
            return self._seeds.of_id("user", query.scope, found.value)
        if self._sessions.subagents == "isolate":
            if query.agent:
                return self._seeds.of_id("agent", query.scope, found.value, query.agent)
            if found.tier == "codex" and (thread := signals.codex_thread(query.outer)):
                return self._seeds.of_id("id", query.scope, thread)
        return self._seeds.of_id("id", query.scope, found.value)

    def _borrowed(self, found: FoundId, seed: str, query: _Query) -> str:
        """Return the affinity of a new id: of a weaker id beside it, which lends once, or of a token, or its own."""
        if found.tier in _ISOLATED or seed != self._seeds.of_id("id", query.scope, found.value):
            return seed
        claimed = "" if _is_passing(found) else seed
        for weaker in self._weaker(found, query):
            other = self._seeds.of_id("id", query.scope, weaker.value)
            alias = self.aliases.find(other, query.now)
            if other != seed and alias and not alias.claimed:
                return self.aliases.lead(other, alias.affinity, query.now, claimed)
        link = self._link(query) if "token" in self._sessions.order and found.tier != "cache_key" else None
        return link[1].affinity if link else seed

    def _lend(self, found: FoundId, seed: str, affinity: str, query: _Query) -> None:
        if found.tier in _ISOLATED or self._sessions.subagents == "isolate":
            return
        for weaker in self._weaker(found, query):
            other = self._seeds.of_id("id", query.scope, weaker.value)
            if other != seed and not self.aliases.find(other, query.now):
                self.aliases.lead(other, affinity, query.now, "" if _is_passing(found) else seed)

    def _weaker(self, found: FoundId, query: _Query) -> Iterator[FoundId]:
        """Yield the ids of *query* after *found* that name conversations, not users and not single answers."""
        order = self._sessions.order
        for item in query.ids:
            later = (order.index(item.tier), query.ids.index(item)) > (order.index(found.tier), query.ids.index(found))
            if later and item.tier not in _ISOLATED and not _is_passing(item):
                yield item

    def _link(self, query: _Query) -> tuple[Reference, Entry] | None:
        if not query.is_readable or self._lineage.is_empty():
            return None
        bodies = [query.outline.body] if query.outline else []  # the new messages quote the last answer
        for body in (*bodies, query.request.body):
            for reference in references.newest_first(body):
                entry = self._lineage.find(query.scope, reference.value, query.now)
                if entry and entry.affinity:
                    return reference, entry
        return None


def _is_passing(found: FoundId) -> bool:
    """Whether an id names one answer of a conversation, so that the next request brings another one."""
    return "previous_" in found.where
