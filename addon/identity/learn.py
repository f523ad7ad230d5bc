"""What there is to learn from an answered request: what it gave away, and what will grow out of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from .. import dialects, upstream_url
from ..keyed import fingerprint
from ..ledger import Entry
from ..values.answer import Fact
from ..values.decision import Identity
from ..values.http import Request
from . import auxiliary_calls, references
from .client_resources import ClientResources
from .first_turns import FirstTurns
from .history import Conversation, answer_turns, squeezed
from .history_cache import is_long
from .lineage import Lineage
from .prefixes import Prefixes
from .readings import Readings
from .references import MIN_TEXT
from .seeds import Seeds, encode
from .truncated_history import ServedRequest, TruncatedHistories

OWNED_TTL = 30 * 86_400.0  # seconds: as long as providers keep what they store for an account
ADDRESS_TTL = 86_400.0  # seconds in which an address that an answer gave leads to the account of that answer
_ANY_CLIENT = b"\0"  # a scope that no client has: what is noted under it applies to all clients
CONTENT_THREADS = frozenset(("cache_key", "user", "content"))  # tiers that leave the thread to what is said
_HISTORY_TURNS = 64  # of one request, the newest
_FACTS = 2048  # of one answer
_SEEN = frozenset(("id", "token", "text", "calls"))  # kinds of facts without any of which nothing was answered
_GUESSABLE = frozenset(("tool", "signature"))  # what is minted by models and gateways, not by a service that stores


class Learner:
    """
    Write what answers taught us into *lineage*, *holders*, *chain* and *recall*; what a conversation needs, for *ttl*.
    """

    def __init__(
        self,
        seeds: Seeds,
        lineage: Lineage,
        holders: ClientResources,
        chain: Prefixes,
        readings: Readings,
        recall: TruncatedHistories,
        openings: FirstTurns,
        ttl: float,
    ) -> None:
        self._seeds = seeds
        self._lineage = lineage
        self._holders = holders
        self._chain = chain
        self._readings = readings
        self._truncated = recall
        self._first_turns = openings
        self.ttl = ttl

    def learn(self, request: Request, identity: Identity, account: str, facts: Sequence[Fact], now: float) -> None:
        """Remember that *account* answered *request*, and what the *facts* of its answer gave away."""
        told = facts[:_FACTS]
        answer = next((fact.value for fact in reversed(told) if fact.kind == "text"), "")
        answer = answer if isinstance(answer, str) else ""
        entry = Entry("", account=account, affinity=identity.affinity, thread=identity.thread, at=now)
        if identity.began or identity.tier in (*CONTENT_THREADS, "token"):
            entry = self._content(request, identity, entry, told, answer, now)
        if request.endpoint.kind != "generation" and "/models" in request.path:
            return  # the id of a model is not an id of ours
        self._tokens(request, entry, told, answer, now)
        if identity.tier in ("content", "token") and auxiliary_calls.converses(request.endpoint):
            before, messages = self._readings.added(request)
            conversation = self._readings.of(request)
            served = ServedRequest(request, conversation, before, messages, answer, identity.binds)
            self._truncated.note(served, entry, now)

    def given(self, request: Request, account: str, targets: Iterable[str], now: float) -> None:
        """Remember that *account*'s answer to *request* gave away addresses: their *targets*, paths with a query."""
        client, entry = request.client, Entry("", account=account, at=now)
        for target in filter(references.names_one, targets):
            whole, *ids = references.of_address(target)
            self._lineage.note(client.scope, whole.value, entry, now, ADDRESS_TTL)
            for quote in ids:
                self._lineage.note(client.scope, quote.value, entry, now, max(OWNED_TTL, self.ttl))
                self._holders.note(request, Fact("token", quote.value, quote.place), now, max(OWNED_TTL, self.ttl))
            if ids and upstream_url.opens_itself(target):  # it cannot be guessed, so it identifies the client
                holder = Entry("", affinity=client.scope.hex() or "-", thread=client.key.hex(), at=now)
                self._lineage.note(_ANY_CLIENT, whole.value, holder, now, ADDRESS_TTL)

    def accepted(self, request: Request, account: str, value: str, now: float) -> None:
        """Remember that *value*, which *request* names, is *account*'s."""
        entry = Entry("", account=account, at=now)
        self._lineage.note(request.client.scope, value, entry, now, max(OWNED_TTL, self.ttl))

    def given_to(self, path: str, now: float) -> tuple[bytes, bytes] | None:
        """
        Return scope and key of the client that was given the address of an upload, *path* with its query.

        Some SDKs send no credential to such an address: it is one.
        """
        whole, *ids = references.of_address(path)
        known = ids and upstream_url.opens_itself(path)
        entry = self._lineage.find(_ANY_CLIENT, whole.value, now) if known else None
        if entry is None or not entry.affinity:
            return None
        return bytes.fromhex(entry.affinity.strip("-")), bytes.fromhex(entry.thread)

    def _content(
        self, request: Request, identity: Identity, entry: Entry, facts: Sequence[Fact], answer: str, now: float
    ) -> Entry:
        """Remember the history that was served; return to whom the answer went, which its opening may not tell."""
        scope, conversation = request.client.scope, self._readings.of(request)
        if conversation.root < 0:
            return entry
        if is_long(request.body):
            self._readings.keep(request, now)
            conversation = self._readings.of(request)
        self._history(request, conversation, entry, now)
        turns = _answer_turns(request, facts, answer)
        if conversation.first_answer < 0:
            if identity.tier in CONTENT_THREADS:
                entry = self._told_apart(scope, identity, entry, facts, now)
            if turns:
                grown = self._chain.grown(conversation, turns)
                self._chain.name(scope, self._chain.thread_seed(scope, grown), entry, now)
        seen = any(fact.kind in _SEEN for fact in facts)
        self._chain.note(scope, conversation, entry, now, turns, seen=seen, begins=bool(identity.began))
        if identity.began and seen:
            self._first_turns.note(scope, identity.began, entry, now)
        else:
            self._first_turns.keep(scope, entry, now)
        if turns and len(squeezed(answer)) < MIN_TEXT:  # a longer text is known by itself, also after a restart
            self._first_turns.grew(scope, self._chain.grown(conversation, turns), entry, now)
        return entry

    def _told_apart(self, scope: bytes, identity: Identity, entry: Entry, facts: Sequence[Fact], now: float) -> Entry:
        """
        Give a first turn under an id that began like another one a thread of its own, by its answer.
        """
        given = tuple(_given(facts))
        answer = fingerprint(*given)
        if given:
            first = self._chain.first("opening", scope, identity.thread, replace(entry, digest=answer), now)
            if first.digest != answer:
                entry = replace(entry, thread=self._seeds.derive("answered", scope, identity.thread, answer))
        return entry

    def _history(self, request: Request, conversation: Conversation, entry: Entry, now: float) -> None:
        """Remember what the history quotes of our answers that we have not seen ourselves."""
        scope = request.client.scope
        before, messages = self._readings.added(request)
        turns = tuple(self._chain.answers(scope, conversation, now, self._readings.learned(request)))
        for turn in turns[-_HISTORY_TURNS:]:
            for quote in references.of_message(messages[turn.index - before]):
                if quote.links and self._lineage.find(scope, quote.value, now) is None:
                    # who gave it is a guess as good as none: it must not tie a request to an account
                    self._lineage.note(scope, quote.value, replace(entry, account=""), now, self.ttl)

    def _tokens(self, request: Request, entry: Entry, facts: Sequence[Fact], answer: str, now: float) -> None:
        scope = request.client.scope
        if any(_ties(request, fact) for fact in facts):
            self._lineage.tie(scope, now, max(OWNED_TTL, self.ttl))
        for fact in facts:
            self._holders.note(request, fact, now, max(OWNED_TTL, self.ttl))
            if fact.kind not in ("id", "token") or not isinstance(fact.value, str) or not fact.value:
                continue
            if fact.where in _GUESSABLE and not references.is_strong(fact.value):
                continue
            ttl = self.ttl if fact.where == "tool" else max(OWNED_TTL, self.ttl)
            self._lineage.note(scope, fact.value, entry, now, ttl)
        text = squeezed(answer)
        if entry.affinity and len(text) >= MIN_TEXT:
            self._lineage.note(scope, text, entry, now, self.ttl)


def _ties(request: Request, fact: Fact) -> bool:
    """
    Say whether a later history that holds this can be served by one account alone: items, reasoning, files, containers.

    Where nothing is stored, a history does not refer to an answer by its id, and a signature is good everywhere.
    """
    if fact.kind == "id" or fact.where == "signature":
        return request.endpoint.kind != "generation" or dialects.of(request.endpoint.dialect).stores_answers
    return fact.kind == "token" and fact.where not in ("tool", "credit")


def _answer_turns(request: Request, facts: Sequence[Fact], answer: str) -> tuple[bytes, ...]:
    """Return the turns of an answer in a later request; none when it holds calls of which too little is known."""
    found = next((fact.value for fact in facts if fact.kind == "calls"), ())
    calls = found if isinstance(found, tuple) else ()
    if not calls and any(fact.kind == "token" and fact.where == "tool" for fact in facts):
        return ()
    return answer_turns(answer, calls, apart=dialects.of(request.endpoint.dialect).splits_answers)


def _given(facts: Sequence[Fact]) -> Iterator[bytes]:
    """Yield what tells one answer from another: its text and the ids of its tool calls."""
    for fact in facts:
        if fact.kind == "text":
            yield encode(squeezed(str(fact.value)))
        elif fact.kind == "token" and fact.where == "tool":
            yield encode(str(fact.value))
