"""Learning from an answered request: the history that was served, and the ids and tokens of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .. import dialects
from ..keyed import fingerprint
from ..ledger import Entry
from ..values.answer import Fact
from ..values.decision import Identity
from ..values.http import Request
from . import auxiliary_calls, references
from .account_resources import OWNED_TTL
from .client_resources import ClientResources
from .first_turns import FirstTurns
from .history_cache import HistoryCache, is_long
from .lineage import Lineage
from .normalise import squeezed
from .prefixes import Prefixes
from .references import MIN_TEXT
from .seeds import Seeds, encode
from .truncated_history import ServedRequest, TruncatedHistories
from .turns import Conversation, answer_turns

CONTENT_THREADS = frozenset(("cache_key", "user", "content"))  # tiers whose thread comes from the history
_HISTORY_TURNS = 64  # of one request, the newest
_FACTS = 2048  # of one answer
_SEEN = frozenset(("id", "token", "text", "calls"))  # kinds of facts without any of which there was no answer
_GUESSABLE = frozenset(("tool", "signature"))  # minted by models and gateways, not by a service that stores


@dataclass(slots=True)
class Learner:
    """Writes into the tables of identity; entries that conversations need live for *ttl* seconds."""

    seeds: Seeds
    lineage: Lineage
    client_resources: ClientResources
    prefixes: Prefixes
    histories: HistoryCache
    truncated: TruncatedHistories
    first_turns: FirstTurns
    ttl: float

    def learn(self, request: Request, identity: Identity, account: str, facts: Sequence[Fact], now: float) -> None:
        """Remember that *account* answered *request* with *facts*."""
        facts = facts[:_FACTS]
        texts = [fact.value for fact in facts if fact.kind == "text" and isinstance(fact.value, str)]
        answer = texts[-1] if texts else ""
        entry = Entry("", account=account, affinity=identity.affinity, thread=identity.thread, at=now)
        if identity.opening_marks or identity.tier in (*CONTENT_THREADS, "token"):
            entry = self._learn_history(request, identity, entry, facts, answer, now)
        if request.endpoint.kind != "generation" and "/models" in request.path:
            return  # the id of a model is no token of ours
        self._learn_tokens(request, entry, facts, answer, now)
        if identity.tier in ("content", "token") and auxiliary_calls.converses(request.endpoint):
            before, messages = self.histories.new_messages(request)
            conversation = self.histories.conversation(request)
            served = ServedRequest(request, conversation, before, messages, answer, identity.binds)
            self.truncated.note(served, entry, now)

    def _learn_history(
        self, request: Request, identity: Identity, entry: Entry, facts: Sequence[Fact], answer: str, now: float
    ) -> Entry:
        scope, conversation = request.client.scope, self.histories.conversation(request)
        if conversation.root < 0:
            return entry
        if is_long(request.body):
            conversation = self.histories.keep(request, now)
        self._learn_quotes(request, conversation, entry, now)
        turns = _answer_turns(request, facts, answer)
        if conversation.first_answer < 0:
            if identity.tier in CONTENT_THREADS:
                entry = self._with_own_thread(scope, identity, entry, facts, now)
            if turns:
                seed = self.prefixes.thread_seed(scope, conversation.with_answer(turns))
                self.prefixes.name(scope, seed, entry, now)
        seen = any(fact.kind in _SEEN for fact in facts)
        self.prefixes.note(scope, conversation, entry, now, turns, seen=seen, begins=bool(identity.opening_marks))
        if identity.opening_marks and seen:
            self.first_turns.note(scope, identity.opening_marks, entry, now)
        else:
            self.first_turns.renew(scope, entry, now)
        if turns and len(squeezed(answer)) < MIN_TEXT:  # a longer text is known by itself, also after a restart
            self.first_turns.note_history(scope, conversation.with_answer(turns), entry, now)
        return entry

    def _with_own_thread(
        self, scope: bytes, identity: Identity, entry: Entry, facts: Sequence[Fact], now: float
    ) -> Entry:
        """Return *entry* with a thread by its answer, if another first turn has its thread and another answer."""
        pieces = tuple(_distinctive(facts))
        answer = fingerprint(*pieces)
        if pieces:
            first = self.prefixes.first("opening", scope, identity.thread, replace(entry, digest=answer), now)
            if first.digest != answer:
                entry = replace(entry, thread=self.seeds.derive("answered", scope, identity.thread, answer))
        return entry

    def _learn_quotes(self, request: Request, conversation: Conversation, entry: Entry, now: float) -> None:
        """Remember the tokens of our answers that the history quotes and we have not seen ourselves."""
        scope = request.client.scope
        before, messages = self.histories.new_messages(request)
        turns = tuple(self.prefixes.answers(scope, conversation, now, self.histories.known_turns(request)))
        for turn in turns[-_HISTORY_TURNS:]:
            for reference in references.of_message(messages[turn.index - before]):
                if reference.links and self.lineage.find(scope, reference.value, now) is None:
                    # the account is a guess, which must not tie a request to it
                    self.lineage.note(scope, reference.value, replace(entry, account=""), now, self.ttl)

    def _learn_tokens(self, request: Request, entry: Entry, facts: Sequence[Fact], answer: str, now: float) -> None:
        scope, owned_ttl = request.client.scope, max(OWNED_TTL, self.ttl)
        minted = [fact for fact in facts if fact.kind in ("id", "token")]
        if any(_ties(request, fact) for fact in minted):
            self.lineage.tie(scope, now, owned_ttl)
        for fact in minted:
            self.client_resources.note(request, fact, now, owned_ttl)
            if not isinstance(fact.value, str) or not fact.value:
                continue
            if fact.where in _GUESSABLE and not references.is_strong(fact.value):
                continue
            self.lineage.note(scope, fact.value, entry, now, self.ttl if fact.where == "tool" else owned_ttl)
        text = squeezed(answer)
        if entry.affinity and len(text) >= MIN_TEXT:
            self.lineage.note(scope, text, entry, now, self.ttl)


def _ties(request: Request, fact: Fact) -> bool:
    """Whether one account alone serves a history with *fact*; all accept a signature, or an id if nothing is stored."""
    if fact.kind == "id" or fact.where == "signature":
        return request.endpoint.kind != "generation" or dialects.of(request.endpoint.dialect).stores_answers
    return fact.kind == "token" and fact.where not in ("tool", "credit")


def _answer_turns(request: Request, facts: Sequence[Fact], answer: str) -> tuple[bytes, ...]:
    """Return the turns of an answer in a later request; none when it holds calls whose arguments are unknown."""
    found = next((fact.value for fact in facts if fact.kind == "calls"), ())
    calls = found if isinstance(found, tuple) else ()
    if not calls and any(fact.kind == "token" and fact.where == "tool" for fact in facts):
        return ()
    return answer_turns(answer, calls, apart=dialects.of(request.endpoint.dialect).splits_answers)


def _distinctive(facts: Sequence[Fact]) -> Iterator[bytes]:
    for fact in facts:
        if fact.kind == "text":
            yield encode(squeezed(str(fact.value)))
        elif fact.kind == "token" and fact.where == "tool":
            yield encode(str(fact.value))
