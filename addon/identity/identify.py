"""
From a request to its `Identity`: the owner of what it refers to, the affinity that picks an account, and the thread.

Tiers are asked in the order of `sessions.order`; the first that has an answer decides, and the others become evidence.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from ..config import Sessions
from ..ledger import Entry, Ledger
from ..values import Evidence, Fact, Identity, Request, Strength
from . import quotes, sidecalls, signals
from .aliases import Aliases
from .canonical import Conversation, history, read, squeeze
from .chain import Chain, prefixes
from .lineage import Lineage
from .quotes import MIN_TEXT, Quote
from .seeds import Seeds, digest, encode
from .signals import Found

OWNED_TTL = 30 * 86_400.0  # seconds: as long as providers keep what they store for an account
_READINGS = 64
_HISTORY_TOKENS = 64  # of one request, the newest
_FACTS = 2048  # of one answer
_PER_SESSION = 4  # ids and prefixes that are remembered for each session of the limit
_GUESSABLE = frozenset(("tool", "signature"))  # what is minted by models and gateways, not by a service that stores
_STRENGTH: dict[str, Strength] = {"cache_key": "derived", "user": "guess", "content": "guess"}
_CONTENT_THREADS = frozenset(("cache_key", "user", "content"))
_FREE_OF_OTHERS = frozenset(("own", "user"))  # ids of these tiers neither lend nor borrow an affinity


@dataclass(slots=True)
class _Asked:
    """One request while it is identified."""

    request: Request
    now: float
    ids: tuple[Found, ...]
    parents: tuple[Found, ...]
    agent: str
    owner: frozenset[str] | None = None
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def scope(self) -> bytes:
        return self.request.client.scope

    @property
    def is_readable(self) -> bool:
        """Whether the body holds a history, so that what is said may name the conversation."""
        endpoint = self.request.endpoint
        return endpoint.dialect != "" and (endpoint.kind == "generation" or sidecalls.counts_tokens(self.request))

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
        self._chain = Chain(self._seeds, sessions.limit * _PER_SESSION, sessions.ttl)
        self._readings: OrderedDict[bytes, Conversation] = OrderedDict()

    def identify(self, request: Request, now: float) -> Identity:
        """Say whose conversation *request* is."""
        asked = self._asked(request, now)
        asked.owner = self._owner(asked)
        if any(found.tier == "own" and found.value.lower() == "off" for found in asked.ids):
            asked.note("own", "header x-patchbay-session-id", value="off")
            return Identity(owner=asked.owner, tier="own", binds=False, evidence=tuple(asked.evidence))
        for tier in self._sessions.order:
            identity = self._ask(tier, asked)
            if identity is not None:
                self._pass_over(asked, identity)
                return self._finished(asked, identity)
        self._pass_over(asked, Identity())
        return Identity(owner=asked.owner, binds=False, evidence=tuple(asked.evidence))

    def learn(self, request: Request, identity: Identity, account: str, facts: Sequence[Fact], now: float) -> None:
        """Remember that *account* answered *request*, and what the *facts* of its answer gave away."""
        told = facts[:_FACTS]
        answer = next((fact.value for fact in reversed(told) if fact.kind == "text"), "")
        answer = answer if isinstance(answer, str) else ""
        entry = Entry("", account=account, affinity=identity.affinity, thread=identity.thread, at=now)
        if identity.tier in _CONTENT_THREADS or identity.tier == "token":
            entry = self._learn_content(request, identity, entry, told, answer, now)
        if request.endpoint.kind != "generation" and "/models" in request.path:
            return  # the id of a model is not an id of ours
        self._learn_tokens(request.client.scope, entry, told, answer, now)

    # -- the tiers -------------------------------------------------------------------------------------------------

    def _asked(self, request: Request, now: float) -> _Asked:
        found, unusable = signals.find(request)
        known = frozenset(self._sessions.order)
        kept = tuple(item for item in found if item.tier in known)
        asked = _Asked(
            request,
            now,
            ids=tuple(item for item in kept if item.tier != "parent"),
            parents=tuple(item for item in kept if item.tier == "parent"),
            agent=signals.agent(request),
        )
        asked.evidence += unusable
        for item in found:
            if item.tier not in known:
                asked.note(item.tier, item.where, "not in sessions.order", item.value)
        return asked

    def _ask(self, tier: str, asked: _Asked) -> Identity | None:
        match tier:
            case "parent":
                return self._parent(asked)
            case "token":
                return self._token(asked)
            case "content":
                return self._content(asked)
            case "conversation":
                return self._reference(asked) or self._explicit(tier, asked)
        return self._explicit(tier, asked)

    def _explicit(self, tier: str, asked: _Asked) -> Identity | None:
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

    def _parent(self, asked: _Asked) -> Identity | None:
        """Answer with the affinity of a declared parent; the thread is the child's own."""
        if self._sessions.subagents == "isolate":
            return None
        own = [item for item in asked.ids if item.tier not in ("own", "user", "cache_key")]
        seeds = [self._seeds.derive("id", asked.scope, item.value) for item in own]
        for parent in asked.parents:
            seed = self._seeds.derive("id", asked.scope, parent.value)
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
        self, parent: Found, seed: str, seeds: Sequence[str], own: Sequence[Found], asked: _Asked
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

    def _reference(self, asked: _Asked) -> Identity | None:
        """Answer with the conversation of a response, a conversation or an item that the request names and we know."""
        for quote, where in self._named(asked):
            entry = self._lineage.find(asked.scope, quote.value, asked.now)
            if entry and entry.affinity:
                asked.note("conversation", where, value=quote.value)
                return self._linked("conversation", entry, quote.value, asked)
        return None

    def _named(self, asked: _Asked) -> Iterator[tuple[Quote, str]]:
        for found in asked.ids:
            if found.tier == "conversation":
                yield Quote("reference", found.value), found.where
        if asked.request.endpoint.kind == "resource":
            for quote in quotes.of_path(asked.request.path):
                if quote.links:
                    yield quote, "path"

    def _token(self, asked: _Asked) -> Identity | None:
        link = self._link(asked)
        if link is None:
            return None
        quote, entry = link
        asked.note("token", f"history {quote.place}", value=quote.value[: signals.MAX_ID])
        value = quote.value if quote.place != "text" else ""
        return self._linked("token", entry, value, asked)

    def _linked(self, tier: str, entry: Entry, value: str, asked: _Asked) -> Identity:
        affinity = self._aliases.resolve(entry.affinity, asked.now)
        thread = entry.thread or self._content_thread(asked)
        return Identity(affinity, thread, tier=tier, strength="exact", value=value, home=entry.account)

    def _content(self, asked: _Asked) -> Identity | None:
        """Answer with what the request says: a history we served, or an opening."""
        if not asked.is_readable:
            return None
        conversation = self._read(asked.request)
        if conversation.root < 0:
            asked.note("content", "body", "the user says nothing")
            return None
        entry = self._chain.find(asked.scope, conversation, asked.now)
        asked.note("content", "known history" if entry else "opening")
        affinity = entry.affinity if entry else self._opening(asked.scope, conversation)
        return Identity(
            self._aliases.resolve(affinity, asked.now),
            self._content_thread(asked),
            tier="content",
            strength="derived" if entry else "guess",
            home=entry.account if entry else "",
        )

    def _pass_over(self, asked: _Asked, chosen: Identity) -> None:
        """Leave evidence of the ids that were not used."""
        used = {(item.tier, item.where) for item in asked.evidence}
        why = f"{chosen.tier} comes first" if chosen.tier else "not used"
        for found in (*asked.parents, *asked.ids):
            if (found.tier, found.where) not in used:
                asked.note(found.tier, found.where, why, found.value)

    def _finished(self, asked: _Asked, identity: Identity) -> Identity:
        request = asked.request
        named = identity.tier not in ("token", "content", "user", "cache_key")
        binds = not sidecalls.is_probe(request) and (named or asked.is_readable)
        if binds and not named and sidecalls.names_a_chat(request):
            binds = False
        if request.endpoint.kind == "resource" and identity.tier == "conversation":
            binds = False
        return replace(identity, owner=asked.owner, binds=binds, evidence=tuple(asked.evidence))

    # -- ids that lead to one another ------------------------------------------------------------------------------

    def _seed_of(self, found: Found, asked: _Asked) -> str:
        """Return the seed of an id. Explicit ids share one namespace, wherever they stand; users have their own."""
        if found.tier == "user":
            return self._seeds.derive("user", asked.scope, found.value)
        if self._sessions.subagents == "isolate":
            if asked.agent:
                return self._seeds.derive("agent", asked.scope, found.value, asked.agent)
            if found.tier == "codex" and (thread := signals.codex_thread(asked.request)):
                return self._seeds.derive("id", asked.scope, thread)
        return self._seeds.derive("id", asked.scope, found.value)

    def _borrowed(self, found: Found, seed: str, asked: _Asked) -> str:
        """
        Return the affinity an id leads to when we see it first: the one under way that a weaker id names, else its own.

        A weaker id lends its affinity once: an application may use one cache key for all its conversations.
        """
        if found.tier in _FREE_OF_OTHERS or seed != self._seeds.derive("id", asked.scope, found.value):
            return seed
        claimed = "" if _is_passing(found) else seed
        for weaker in self._weaker(found, asked):
            other = self._seeds.derive("id", asked.scope, weaker.value)
            alias = self._aliases.find(other, asked.now)
            if other != seed and alias and not alias.claimed:
                return self._aliases.lead(other, alias.affinity, asked.now, claimed)
        link = self._link(asked) if "token" in self._sessions.order and found.tier != "cache_key" else None
        return link[1].affinity if link else seed

    def _lend(self, found: Found, seed: str, affinity: str, asked: _Asked) -> None:
        """Let the weaker ids that came along lead the same way, unless they are known already."""
        if found.tier in _FREE_OF_OTHERS or self._sessions.subagents == "isolate":
            return
        for weaker in self._weaker(found, asked):
            other = self._seeds.derive("id", asked.scope, weaker.value)
            if other != seed and not self._aliases.find(other, asked.now):
                self._aliases.lead(other, affinity, asked.now, "" if _is_passing(found) else seed)

    def _weaker(self, found: Found, asked: _Asked) -> Iterator[Found]:
        """Yield the ids of *asked* after *found* that name conversations, not users and not single answers."""
        order = self._sessions.order
        for item in asked.ids:
            later = (order.index(item.tier), asked.ids.index(item)) > (order.index(found.tier), asked.ids.index(found))
            if later and item.tier not in _FREE_OF_OTHERS and not _is_passing(item):
                yield item

    def _link(self, asked: _Asked) -> tuple[Quote, Entry] | None:
        """Find the newest thing in the history that one of our answers gave away."""
        if not asked.is_readable:
            return None
        for quote in quotes.newest_first(asked.request.body):
            entry = self._lineage.find(asked.scope, quote.value, asked.now)
            if entry and entry.affinity:
                return quote, entry
        return None

    def _owner(self, asked: _Asked) -> frozenset[str] | None:
        """
        Return the accounts that can honour everything the request refers to, None when all can.

        Where two references want different accounts, the first one counts: no account could serve both.
        """
        owner: frozenset[str] | None = None
        for quote in self._owning(asked):
            entry = self._lineage.find(asked.scope, quote.value, asked.now)
            if entry is None or not entry.account:
                continue
            if owner is None:
                owner = frozenset((entry.account,))
                asked.note("owner", quote.place, value=quote.value[: signals.MAX_ID])
            elif entry.account not in owner:
                asked.note("owner", quote.place, "of another account", quote.value[: signals.MAX_ID])
        return owner

    def _owning(self, asked: _Asked) -> Iterator[Quote]:
        if asked.request.endpoint.kind == "resource":
            yield from quotes.of_path(asked.request.path)
        yield from quotes.owning(asked.request)

    # -- what is said ----------------------------------------------------------------------------------------------

    def _read(self, request: Request) -> Conversation:
        """Read the history, once for equal bytes: asking and learning see the same body, and so does a retry."""
        key = blake3(request.body.raw or b"").digest()
        found = self._readings.get(key)
        if found is None:
            found = self._readings[key] = read(request.body)
            if len(self._readings) > _READINGS:
                self._readings.popitem(last=False)
        return found

    def _opening(self, scope: bytes, conversation: Conversation) -> str:
        return self._seeds.derive("content", scope, conversation.turns[conversation.root].digest)

    def _thread(self, found: Found, asked: _Asked) -> str:
        """Return the thread of an explicit id; ids that several histories share leave it to what is said."""
        if found.tier in _CONTENT_THREADS:
            return self._content_thread(asked)
        if asked.agent:
            return self._seeds.derive("thread", asked.scope, found.value, asked.agent)
        inner = signals.codex_thread(asked.request) if found.tier == "codex" else ""
        return self._seeds.derive("thread", asked.scope, inner or found.value)

    def _content_thread(self, asked: _Asked) -> str:
        """Return the thread of what is said. It is final from the first answer on, which tells equal openings apart."""
        if not asked.is_readable:
            return ""
        conversation = self._read(asked.request)
        if conversation.root < 0:
            return ""
        seed = self._thread_seed(asked.scope, conversation)
        named = self._chain.named(asked.scope, seed, asked.now) if conversation.first_answer >= 0 else None
        return named.thread if named else seed

    def _thread_seed(self, scope: bytes, conversation: Conversation) -> str:
        last = max(conversation.first_answer, conversation.root)
        prefix = prefixes(conversation.turns[: last + 1])[-1]
        return self._seeds.derive("history", scope, conversation.system, prefix)

    # -- learning --------------------------------------------------------------------------------------------------

    def _learn_content(
        self, request: Request, identity: Identity, entry: Entry, facts: Sequence[Fact], answer: str, now: float
    ) -> Entry:
        """Remember the history that was served; return to whom the answer went, which its opening may not tell."""
        scope, conversation = request.client.scope, self._read(request)
        if conversation.root < 0:
            return entry
        self._learn_history(request, conversation, entry, now)
        if conversation.first_answer < 0 and identity.tier in _CONTENT_THREADS:
            entry = self._told_apart(scope, identity, entry, facts, now)
            if answer:
                grown = self._chain.grown(conversation, answer)
                self._chain.name(scope, self._thread_seed(scope, grown), entry, now)
        calls = any(fact.kind == "token" and fact.where == "tool" for fact in facts)
        self._chain.note(scope, conversation, entry, now, answer="" if calls else answer)
        return entry

    def _told_apart(self, scope: bytes, identity: Identity, entry: Entry, facts: Sequence[Fact], now: float) -> Entry:
        """
        Give a first turn that began like another one a thread of its own, by its answer; and where another account
        served it than the first, an affinity of its own, for that is where it is warm.
        """
        given = tuple(_given(facts))
        if given:
            answer = digest(given)
            first = self._chain.first("opening", scope, identity.thread, replace(entry, digest=answer), now)
            if first.digest != answer:
                entry = replace(entry, thread=self._seeds.derive("answered", scope, identity.thread, answer))
        if identity.tier == "content":
            served = self._chain.first("served by", scope, identity.affinity, entry, now)
            if served.account != entry.account:
                affinity = self._seeds.derive("elsewhere", scope, identity.affinity, entry.account)
                entry = replace(entry, affinity=affinity)
        return entry

    def _learn_history(self, request: Request, conversation: Conversation, entry: Entry, now: float) -> None:
        """Remember what the history quotes of our answers that we have not seen ourselves."""
        scope = request.client.scope
        messages = history(request.body)
        for turn in tuple(self._chain.answers(scope, conversation, now))[-_HISTORY_TOKENS:]:
            for quote in quotes.of_message(messages[turn.index]):
                if quote.links and self._lineage.find(scope, quote.value, now) is None:
                    # who gave it is a guess as good as none: it must not tie a request to an account
                    self._lineage.note(scope, quote.value, replace(entry, account=""), now, self._sessions.ttl)

    def _learn_tokens(self, scope: bytes, entry: Entry, facts: Sequence[Fact], answer: str, now: float) -> None:
        for fact in facts:
            if fact.kind not in ("id", "token") or not isinstance(fact.value, str) or not fact.value:
                continue
            if fact.where in _GUESSABLE and not quotes.is_strong(fact.value):
                continue
            ttl = self._sessions.ttl if fact.where == "tool" else max(OWNED_TTL, self._sessions.ttl)
            self._lineage.note(scope, fact.value, entry, now, ttl)
        text = squeeze(answer)
        if entry.affinity and len(text) >= MIN_TEXT:
            self._lineage.note(scope, text, entry, now, self._sessions.ttl)


def _is_passing(found: Found) -> bool:
    """Say whether an id names one answer of a conversation, so that the next request brings another one."""
    return "previous_" in found.where


def _given(facts: Sequence[Fact]) -> Iterator[bytes]:
    """Yield what tells one answer from another: its text and the ids of its tool calls."""
    for fact in facts:
        if fact.kind == "text":
            yield encode(squeeze(str(fact.value)))
        elif fact.kind == "token" and fact.where == "tool":
            yield encode(str(fact.value))
