"""
From a request to its `Identity`: the owner of what it refers to, the affinity that picks an account, and the thread.

Tiers are asked in the order of `sessions.order`; the first that has an answer decides, and the others become evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .. import account_bound
from ..dialects.dialect import BoundField
from ..ledger import Entry, Ledger
from ..settings.settings import Sessions
from ..values.answer import Fact
from ..values.decision import Evidence, Identity, Strength
from ..values.http import Request
from . import auxiliary_calls, references, signals
from .aliases import Aliases
from .client_resources import ClientResources
from .first_turns import FirstTurns
from .history import Conversation
from .history_cache import Familiar, is_long
from .learn import CONTENT_THREADS, Learner
from .lineage import Lineage
from .prefixes import Prefixes
from .readings import Readings
from .references import Reference
from .seeds import Seeds
from .shared_keys import SharedKeys
from .signals import FoundId, is_common
from .truncated_history import TruncatedHistories

_PER_SESSION = 4  # ids and prefixes that are remembered for each session of the limit
_STRENGTH: dict[str, Strength] = {"cache_key": "derived", "user": "guess", "content": "guess"}
_WITHOUT_IDS = frozenset(("parent", "token", "conversation", "content"))  # tiers that may answer without an id
_FREE_OF_OTHERS = frozenset(("own", "user"))  # ids of these tiers neither lend nor borrow an affinity


@dataclass(slots=True)
class _Query:
    """One request while it is identified."""

    request: Request
    now: float
    ids: tuple[FoundId, ...]
    parents: tuple[FoundId, ...]
    evidence: list[Evidence] = field(default_factory=list)
    conversation: Conversation | None = None  # what is said, once it was read
    outline: Request | None = None  # the same request without what is known of its history
    beside: bool | None = None  # what `is_beside` says, once it was asked
    exchange: str = ""
    common: list[str] = field(default_factory=list)  # seeds of common ids that do not name this conversation

    @property
    def outer(self) -> Request:
        """The request for whoever only reads what stands around its history."""
        return self.outline or self.request

    @property
    def agent(self) -> str:
        return signals.agent(self.outer)

    @property
    def scope(self) -> bytes:
        return self.request.client.scope

    @property
    def is_readable(self) -> bool:
        """Whether the body holds a history, so that what is said may name the conversation."""
        endpoint = self.request.endpoint
        return endpoint.dialect != "" and (
            auxiliary_calls.converses(endpoint) or auxiliary_calls.counts_tokens(self.request)
        )

    @property
    def is_beside(self) -> bool:
        """Whether this is a chore beside a chat, which a history of some length is not."""
        if self.beside is None:
            is_long = self.conversation is not None and self.conversation.messages > auxiliary_calls.TITLE_MESSAGES
            self.beside = not is_long and auxiliary_calls.serves_a_chat(self.request)
        return self.beside

    def note(self, tier: str, where: str, why: str = "", value: str = "") -> None:
        """Add evidence: of what was used, or with *why* of what was not."""
        self.evidence.append(Evidence(tier, where, used=not why, why=why, value=value))


class Identifier:
    """
    Say whose conversation a request is, and learn from the answers.

    *key* is a secret of 32 bytes; *ledger* keeps what answers gave away. Nothing a request holds makes it raise.
    """

    def __init__(self, key: bytes, sessions: Sessions, ledger: Ledger) -> None:
        self._seeds = Seeds(key)
        self._sessions = sessions
        self._lineage = Lineage(self._seeds, ledger)
        self._aliases = Aliases(sessions.limit * _PER_SESSION, sessions.ttl)
        self._chain = Prefixes(self._seeds, sessions.limit * _PER_SESSION, sessions.ttl)
        self._shared_keys = SharedKeys(sessions.limit, sessions.ttl)
        self._readings = Readings(sessions.limit, sessions.ttl)
        self._familiar = Familiar(sessions.limit)
        self._holders = ClientResources(self._seeds, ledger)
        self._truncated = TruncatedHistories(self._lineage, Lineage(self._seeds, ledger, "recall"), sessions.ttl)
        self._first_turns = FirstTurns(self._seeds, self._lineage, sessions.ttl)
        self._learner = Learner(
            self._seeds,
            self._lineage,
            self._holders,
            self._chain,
            self._readings,
            self._truncated,
            self._first_turns,
            sessions.ttl,
        )

    def identify(self, request: Request, now: float, exchange: str = "") -> Identity:
        """
        Say whose conversation *request* is.

        *exchange* is unique for each request: a first turn then counts as under way until `closed` is called. Without
        it nothing is held, as for one who only looks.
        """
        asked = self._asked(request, now)
        asked.exchange = exchange
        if any(found.tier == "own" and found.value.lower() == "off" for found in asked.ids):
            asked.note("own", "header x-patchbay-session-id", value="off")
            return self._owned(asked, Identity(tier="own"))
        present = {found.tier for found in asked.ids} | _WITHOUT_IDS
        for tier in self._sessions.order:
            if tier not in present:
                continue
            identity = self._ask(tier, asked)
            if identity is not None:
                self._pass_over(asked, identity)
                return self._finished(asked, identity)
        self._pass_over(asked, Identity())
        return self._owned(asked, Identity())

    def learn(self, request: Request, identity: Identity, account: str, facts: Sequence[Fact], now: float) -> None:
        """Remember that *account* answered *request*, and what the *facts* of its answer gave away."""
        self._learner.learn(request, identity, account, facts, now)

    def given(self, request: Request, account: str, targets: Iterable[str], now: float) -> None:
        """Remember that *account*'s answer to *request* gave away addresses: their *targets*, paths with a query."""
        self._learner.given(request, account, targets, now)

    def is_given(self, request: Request, now: float) -> bool:
        """Whether the path of *request* is an address that an answer gave to its client."""
        return self.owner_of(request, next(references.of_address(request.path)).value, now) != ""

    def given_to(self, path: str, now: float) -> tuple[bytes, bytes] | None:
        """Return scope and key of the client that was given the address of an upload, *path*, if it is one."""
        return None if self._lineage.is_empty() else self._learner.given_to(path, now)

    def closed(self, identity: Identity) -> None:
        """Take note that the exchange of *identity* is over; what was not learned from it by now leaves no mark."""
        self._first_turns.release(identity.began)

    def foreign(self, request: Request, now: float) -> str:
        """Return an id in *request* that is known to be another client's, or the empty string."""
        return self._holders.foreign(request, now)

    def owner_of(self, request: Request, token: str, now: float) -> str:
        """Return the account that gave *token* to the client of *request*, or the empty string."""
        entry = self._lineage.find(request.client.scope, token, now)
        return entry.account if entry else ""

    def stored_at(self, request: Request, now: float) -> frozenset[str] | None:
        """
        Return the account that keeps what *request* cannot do without, a file or what it continues, if there is one.

        All of the history is read for it, so ask only where the owner cannot be had.
        """
        for quote in self._owning(request, searched=True):
            account = "" if quote.place in references.SPARED else self.owner_of(request, quote.value, now)
            if account:
                return frozenset((account,))
        return None

    def left_behind(
        self, request: Request, affinity: str, account: str, now: float, *, moved: bool
    ) -> tuple[BoundField, ...]:
        """
        Return what of *request* belongs to another account than *account*.

        Where the owner is unknown and the conversation has *moved*, it belongs to the former account.
        """
        found = (
            (bound, self.owner_of(request, _token_of(bound, value, affinity), now))
            for bound, value in account_bound.bound_fields(request)
        )
        return tuple(bound for bound, owner in found if (owner != account if owner else moved))

    def accepted(self, request: Request, affinity: str, account: str, now: float) -> None:
        """Remember that *account* served *request*, of *affinity*, with what no answer gives and belongs to one."""
        for bound, value in account_bound.bound_fields(request):
            token = _token_of(bound, value, affinity)
            if bound.accepted and affinity and not self.owner_of(request, token, now):
                self._learner.accepted(request, account, token, now)

    @property
    def aliases(self) -> Aliases:
        return self._aliases

    def reload(self, sessions: Sessions) -> None:
        """Go by *sessions* from the next request on; what is known stays."""
        self._sessions = sessions
        self._aliases.resize(sessions.limit * _PER_SESSION, sessions.ttl)
        self._chain.resize(sessions.limit * _PER_SESSION, sessions.ttl)
        self._learner.ttl = self._truncated.ttl = self._first_turns.ttl = sessions.ttl
        self._shared_keys.resize(sessions.limit, sessions.ttl)
        self._familiar.resize(sessions.limit)
        self._readings.resize(sessions.limit, sessions.ttl)

    # -- the tiers -------------------------------------------------------------------------------------------------

    def _asked(self, request: Request, now: float) -> _Query:
        outline = self._outline(request, now)
        found, unusable = signals.find(outline or request)
        known = frozenset(self._sessions.order)
        kept = tuple(item for item in found if item.tier in known)
        asked = _Query(
            request,
            now,
            ids=tuple(item for item in kept if item.tier != "parent"),
            parents=tuple(item for item in kept if item.tier == "parent"),
            outline=outline,
        )
        asked.evidence += unusable
        for item in found:
            if item.tier not in known:
                asked.note(item.tier, item.where, "not in sessions.order", item.value)
        return asked

    def _outline(self, request: Request, now: float) -> Request | None:
        """Return a long *request* without the messages it had when it was last seen."""
        if not is_long(request.body):
            return None
        if name := signals.first_of_headers(request):
            body = self._familiar.shortened(self._seeds.of_id("familiar", request.client.scope, name), request.body)
        else:
            body = self._readings.shortened(request, now)
        return replace(request, body=body) if body else None

    def _ask(self, tier: str, asked: _Query) -> Identity | None:
        match tier:
            case "parent":
                return self._parent(asked)
            case "token":
                return self._token(asked)
            case "content":
                return self._content(asked)
            case "conversation":
                return self._reference(asked) or self._explicit(tier, asked)
            case "cache_key" if self._is_bucket(asked):
                return None
        if found := self._common(tier, asked):
            return self._grown(asked) or (self._explicit(tier, asked) if self._names(found, asked) else None)
        return self._explicit(tier, asked)

    def _common(self, tier: str, asked: _Query) -> FoundId | None:
        """Return the id of *tier* when it may be that of many conversations, which what is said can tell apart."""
        found = next((item for item in asked.ids if item.tier == tier), None)
        if found is None or not is_common(tier, found.value) or "content" not in self._sessions.order:
            return None
        return found if asked.is_readable and self._read(asked).root >= 0 else None

    def _names(self, found: FoundId, asked: _Query) -> bool:
        """Say whether the common id *found* names this conversation: the first that began under it, if it is known."""
        seed = self._seed_of(found, asked)
        entry = self._first_turns.find(asked.scope, seed, asked.now)
        alone = entry is not None and entry.affinity != ""
        if not self._first_turns.is_taken(asked.scope, seed, asked.now) or (
            alone and self._read(asked).first_answer >= 0
        ):
            return True
        asked.common.append(seed)
        asked.note(found.tier, found.where, "another conversation began under it", found.value)
        return False

    def _grown(self, asked: _Query) -> Identity | None:
        """Answer with the conversation that the history has grown out of, as far as that is known for certain."""
        linked = self._token(asked) if "token" in self._sessions.order else None
        if linked:
            return linked
        return self._continued(asked)

    def _explicit(self, tier: str, asked: _Query) -> Identity | None:
        """Answer with the first id of *tier*: where it leads already, else where a weaker one beside it leads."""
        place = next((place for place, item in enumerate(asked.ids) if item.tier == tier), -1)
        if place < 0:
            return None
        found = asked.ids[place]
        seed = self._seed_of(found, asked)
        if self._aliases.find(seed, asked.now):
            affinity = self._aliases.lead(seed, seed, asked.now)
        else:
            affinity = self._aliases.lead(seed, self._borrowed(found, seed, asked), asked.now)
        self._lend(found, seed, affinity, asked)
        asked.note(tier, found.where, value=found.value)
        return Identity(
            affinity=affinity,
            thread=self._thread(found, asked),
            tier=tier,
            strength=_STRENGTH.get(tier, "exact"),
            value=found.value,
        )

    def _parent(self, asked: _Query) -> Identity | None:
        """Answer with the affinity of a declared parent; the thread is the child's own."""
        if self._sessions.subagents == "isolate" or not asked.parents:
            return None
        own = [item for item in asked.ids if item.tier not in ("own", "user", "cache_key")]
        seeds = [self._seeds.of_id("id", asked.scope, item.value) for item in own]
        for parent in asked.parents:
            seed = self._seeds.of_id("id", asked.scope, parent.value)
            if why := self._why_no_parent(parent, seed, seeds, own, asked):
                asked.note("parent", parent.where, why, parent.value)
                continue
            affinity = self._aliases.lead(seed, seed, asked.now)
            if seeds and affinity != seeds[0]:
                affinity = self._aliases.lead(seeds[0], affinity, asked.now)
            asked.note("parent", parent.where, value=parent.value)
            thread = self._thread(own[0], asked) if own else self._content_thread(asked)
            return Identity(affinity, thread, tier="parent", strength="exact", value=parent.value)
        return None

    def _why_no_parent(
        self, parent: FoundId, seed: str, seeds: Sequence[str], own: Sequence[FoundId], asked: _Query
    ) -> str:
        if seed in seeds:
            return "names itself"
        if seeds and self._aliases.resolve(seed, asked.now) == seeds[0]:
            return "is a child of this one"
        if self._aliases.find(seed, asked.now):
            return ""
        if seeds and self._aliases.find(seeds[0], asked.now):
            return "unknown, and the child is under way"
        # Codex names the root of the whole tree beside the parent; one level up is less than that.
        inside = "parent_thread_id" in parent.where or "parent-thread-id" in parent.where
        return "unknown, inside a named session" if inside and own else ""

    def _reference(self, asked: _Query) -> Identity | None:
        """Answer with the conversation of a response, a conversation or an item that the request names and we know."""
        for quote, where in self._named(asked):
            entry = self._lineage.find(asked.scope, quote.value, asked.now)
            if entry and entry.affinity:
                asked.note("conversation", where, value=quote.value)
                return self._linked("conversation", entry, quote.value, asked)
        return None

    def _named(self, asked: _Query) -> Iterator[tuple[Reference, str]]:
        for found in asked.ids:
            if found.tier == "conversation":
                yield Reference("reference", found.value), found.where
        if asked.request.endpoint.kind == "resource":
            for quote in references.of_path(asked.request.path):
                if quote.links:
                    yield quote, "path"

    def _token(self, asked: _Query) -> Identity | None:
        link = self._link(asked)
        if link is None:
            return None
        quote, entry = link
        value = quote.value[: signals.MAX_ID] if quote.place != "text" else ""  # what was said stays out of evidence
        asked.note("token", f"history {quote.place}", value=value)
        return self._linked("token", entry, value, asked)

    def _linked(self, tier: str, entry: Entry, value: str, asked: _Query) -> Identity:
        affinity = self._aliases.resolve(entry.affinity, asked.now)
        thread = entry.thread or self._content_thread(asked)
        return Identity(affinity, thread, tier=tier, strength="exact", value=value, home=entry.account)

    def _content(self, asked: _Query) -> Identity | None:
        """Answer with what the request says: a history we served, or an opening."""
        if not asked.is_readable:
            return None
        conversation = self._read(asked)
        if conversation.root < 0:
            asked.note("content", "body", "the user says nothing")
            return None
        if known := self._continued(asked):
            return known
        if "token" in self._sessions.order and (recalled := self._recalled(asked, conversation)):
            return recalled
        asked.note("content", "opening")
        return self._unheard(asked, conversation)

    def _recalled(self, asked: _Query, conversation: Conversation) -> Identity | None:
        """Answer with the conversation that a request without a known history goes on with, or is made beside."""
        if asked.is_beside:
            quoted = self._truncated.quoted(asked.request, asked.now)
            if quoted is None:
                return None
            asked.note("token", "quote")
            return replace(self._linked("token", quoted, "", asked), thread=self._content_thread(asked))
        found = self._truncated.find(asked.request, conversation, asked.now)
        if found is None:
            return None
        if found.continues:
            asked.note("token", f"history {found.where}")
            identity = replace(self._linked("token", found.entry, "", asked), strength="derived")
            # a compacted history is another one from here on, and a window is the same
            return replace(identity, thread=self._content_thread(asked)) if found.where == "summary" else identity
        asked.note("content", f"opening, with a {found.where}")
        return replace(self._unheard(asked, conversation), home=found.entry.account)

    def _unheard(self, asked: _Query, conversation: Conversation) -> Identity:
        """Answer with the opening of *conversation*, of which nothing is known; `_begun` gives it a name of its own."""
        return Identity(self._opening(asked.scope, conversation), self._content_thread(asked), tier="content")

    def _continued(self, asked: _Query) -> Identity | None:
        """
        Answer with the conversation that the history has grown out of: by its longest prefix, else by its opening.

        Where several have that in common it may be any of them, and so it is none.
        """
        scope, conversation, now = asked.scope, self._read(asked), asked.now
        if conversation.first_answer < 0:
            return None
        entry = self._chain.find(scope, conversation, now) or self._first_turns.grown_from(scope, conversation, now)
        if entry is None or not entry.affinity:
            return None
        asked.note("content", "known history")
        thread = entry.thread or self._content_thread(asked)
        affinity = self._aliases.resolve(entry.affinity, now)
        return Identity(affinity, thread, tier="content", strength="derived", home=entry.account)

    def _begun(self, asked: _Query, identity: Identity) -> Identity:
        """
        Return *identity* with what it begins under, if it is of a first turn, and with a name that no other one has.

        The name of an opening is that of the first conversation which had it. The next ones begin at its account while
        that has room, since each may be that conversation's first turn once more.
        """
        named = identity.tier != "content"
        begins = is_common(identity.tier, identity.value) if named else identity.strength == "guess"
        if not begins or asked.conversation is None or asked.conversation.root < 0:
            return identity
        scope, now = asked.scope, asked.now
        opening, name = self._first_turns.of(scope, self._read(asked)), identity.affinity
        again = self._first_turns.is_taken(scope, opening, now)
        taken = not named and (again or self._first_turns.is_taken(scope, name, now))
        if taken:
            asked.note("content", "opening", "another conversation began so")
            near = identity.home or self._first_turns.near(scope, (opening, *asked.common), now)
            fresh = self._first_turns.fresh(scope, name, asked.exchange)
            identity = replace(identity, affinity=fresh, near=near, home="")
        elif not named and asked.common:
            identity = replace(identity, near=self._first_turns.near(scope, asked.common, now))
        if again or taken or asked.common:  # what is said is another thread's already
            identity = replace(identity, thread=self._seeds.derive("began", scope, "thread", identity.affinity))
        common = [self._seed_of(item, asked) for item in asked.ids if is_common(item.tier, item.value)]
        marks = tuple(dict.fromkeys((opening, identity.affinity, *common)))
        if asked.exchange:
            self._first_turns.hold(marks)
        return replace(identity, began=marks)

    def _is_bucket(self, asked: _Query) -> bool:
        """Say whether so many conversations began under the cache key of *asked* that it names none of them."""
        found = next((item for item in asked.ids if item.tier == "cache_key"), None)
        if found is None or not asked.is_readable or self._read(asked).root < 0:
            return False
        key = self._seeds.of_id("bucket", asked.scope, found.value)
        shared = self._shared_keys.is_shared(key, self._opening(asked.scope, self._read(asked)), asked.now)
        if shared:
            asked.note("cache_key", found.where, "many conversations began under it", found.value)
        return shared

    def _read(self, asked: _Query) -> Conversation:
        if asked.conversation is None:
            asked.conversation = self._readings.of(asked.request)
        return asked.conversation

    def _pass_over(self, asked: _Query, chosen: Identity) -> None:
        """Leave evidence of the ids that were not used."""
        used = {(item.tier, item.where) for item in asked.evidence}
        why = f"{chosen.tier} comes first" if chosen.tier else "not used"
        for found in (*asked.parents, *asked.ids):
            if (found.tier, found.where) not in used:
                asked.note(found.tier, found.where, why, found.value)

    def _finished(self, asked: _Query, identity: Identity) -> Identity:
        endpoint = asked.request.endpoint
        named = identity.tier not in ("token", "content", "user", "cache_key")
        talks = auxiliary_calls.converses(endpoint) or (named and endpoint.dialect == "")
        binds = talks and not auxiliary_calls.is_probe(asked.outer) and (named or not asked.is_beside)
        return self._owned(asked, self._begun(asked, identity) if binds else identity, binds)

    def _owned(self, asked: _Query, identity: Identity, binds: bool = False) -> Identity:
        """Add the owner, last: a history that was read for the affinity need not be searched for what marks owners."""
        owner = self._owner(asked)
        return replace(identity, binds=binds, owner=owner, evidence=tuple(asked.evidence))

    # -- ids that lead to one another ------------------------------------------------------------------------------

    def _seed_of(self, found: FoundId, asked: _Query) -> str:
        """Return the seed of an id. Explicit ids share one namespace, wherever they stand; users have their own."""
        if found.tier == "user":
            return self._seeds.of_id("user", asked.scope, found.value)
        if self._sessions.subagents == "isolate":
            if asked.agent:
                return self._seeds.of_id("agent", asked.scope, found.value, asked.agent)
            if found.tier == "codex" and (thread := signals.codex_thread(asked.outer)):
                return self._seeds.of_id("id", asked.scope, thread)
        return self._seeds.of_id("id", asked.scope, found.value)

    def _borrowed(self, found: FoundId, seed: str, asked: _Query) -> str:
        """
        Return the affinity an id leads to when we see it first: the one under way that a weaker id names, else its own.

        A weaker id lends its affinity once: an application may use one cache key for all its conversations.
        """
        if found.tier in _FREE_OF_OTHERS or seed != self._seeds.of_id("id", asked.scope, found.value):
            return seed
        claimed = "" if _is_passing(found) else seed
        for weaker in self._weaker(found, asked):
            other = self._seeds.of_id("id", asked.scope, weaker.value)
            alias = self._aliases.find(other, asked.now)
            if other != seed and alias and not alias.claimed:
                return self._aliases.lead(other, alias.affinity, asked.now, claimed)
        link = self._link(asked) if "token" in self._sessions.order and found.tier != "cache_key" else None
        return link[1].affinity if link else seed

    def _lend(self, found: FoundId, seed: str, affinity: str, asked: _Query) -> None:
        """Let the weaker ids that came along lead the same way, unless they are known already."""
        if found.tier in _FREE_OF_OTHERS or self._sessions.subagents == "isolate":
            return
        for weaker in self._weaker(found, asked):
            other = self._seeds.of_id("id", asked.scope, weaker.value)
            if other != seed and not self._aliases.find(other, asked.now):
                self._aliases.lead(other, affinity, asked.now, "" if _is_passing(found) else seed)

    def _weaker(self, found: FoundId, asked: _Query) -> Iterator[FoundId]:
        """Yield the ids of *asked* after *found* that name conversations, not users and not single answers."""
        order = self._sessions.order
        for item in asked.ids:
            later = (order.index(item.tier), asked.ids.index(item)) > (order.index(found.tier), asked.ids.index(found))
            if later and item.tier not in _FREE_OF_OTHERS and not _is_passing(item):
                yield item

    def _link(self, asked: _Query) -> tuple[Reference, Entry] | None:
        """Find the newest thing in the history that one of our answers gave away."""
        if not asked.is_readable or self._lineage.is_empty():
            return None
        bodies = [asked.outline.body] if asked.outline else []  # what is new holds what we answered last
        for body in (*bodies, asked.request.body):
            for quote in references.newest_first(body):
                entry = self._lineage.find(asked.scope, quote.value, asked.now)
                if entry and entry.affinity:
                    return quote, entry
        return None

    def _owner(self, asked: _Query) -> frozenset[str] | None:
        """
        Return the accounts that can honour everything the request refers to, None when all can.

        Where two references want different accounts, the first one counts: no account could serve both.
        """
        searched = self._lineage.ties(asked.scope, asked.now)
        owner = self._first_owner(asked, asked.outer, searched=searched)  # what is new comes first, and is less to read
        if owner is None and searched and asked.outline:
            owner = self._first_owner(asked, asked.request, searched=True)
        return owner

    def _first_owner(self, asked: _Query, request: Request, *, searched: bool) -> frozenset[str] | None:
        owner: frozenset[str] | None = None
        for quote in self._owning(request, searched=searched):
            entry = self._lineage.find(asked.scope, quote.value, asked.now)
            if entry is None or not entry.account:
                continue
            if owner is None:
                owner = frozenset((entry.account,))
                asked.note("owner", quote.place, value=quote.value[: signals.MAX_ID])
            elif entry.account not in owner:
                asked.note("owner", quote.place, "of another account", quote.value[: signals.MAX_ID])
        return owner

    @staticmethod
    def _owning(request: Request, *, searched: bool) -> Iterator[Reference]:
        if request.endpoint.kind == "resource":
            yield from references.of_path(request.path)
        if request.endpoint.kind != "generation":
            yield from references.of_address(request.path)
        yield from references.owning(request, in_history=searched)

    # -- what is said ----------------------------------------------------------------------------------------------

    def _opening(self, scope: bytes, conversation: Conversation) -> str:
        return self._seeds.derive("content", scope, conversation.turns[conversation.root].digest)

    def _thread(self, found: FoundId, asked: _Query) -> str:
        """Return the thread of an explicit id; ids that several histories share leave it to what is said."""
        if found.tier in CONTENT_THREADS:
            return self._content_thread(asked)
        if asked.agent:
            return self._seeds.of_id("thread", asked.scope, found.value, asked.agent)
        inner = signals.codex_thread(asked.outer) if found.tier == "codex" else ""
        return self._seeds.of_id("thread", asked.scope, inner or found.value)

    def _content_thread(self, asked: _Query) -> str:
        """Return the thread of what is said. It is final from the first answer on, which tells equal openings apart."""
        if not asked.is_readable:
            return ""
        conversation = self._read(asked)
        if conversation.root < 0:
            return ""
        seed = self._chain.thread_seed(asked.scope, conversation)
        named = self._chain.named(asked.scope, seed, asked.now) if conversation.first_answer >= 0 else None
        return named.thread if named else seed


def _token_of(bound: BoundField, value: str, affinity: str) -> str:
    """Return what *value* is remembered by; what a client says of itself may be good for all accounts of others."""
    return f"{affinity} {value}" if bound.accepted else value


def _is_passing(found: FoundId) -> bool:
    """Say whether an id names one answer of a conversation, so that the next request brings another one."""
    return "previous_" in found.where
