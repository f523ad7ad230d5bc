"""
The table of detectors, by name; each family has a module.

A detector is a function of one fact and its context, and yields findings. It has no state of its own: that is in the
ledger and in the hosts' habits. The last fact of a complete answer is `over`. The row says what follows from its
findings: no other module decides by the name of a detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...frozen import dataclass
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import CONTRACT
from . import attested, form, ids, lengths, model, provenance, settings, state, time, tools, words


@dataclass(frozen=True, slots=True)
class Detector:
    """
    A row of the table: *find* reads the facts of *kinds*.

    *of_whole*: a proof is about the whole answer, whose ids and texts then belong to another exchange. *by_our_id*: a
    proof is an id of ours, so that the answer shows no habit of the host. *unowned*: the name of its findings about an
    id of unknown owner; once the owner is known, they are withdrawn and the detector runs again. *doubts*: the
    detectors that one change of a host sets off together with this one; each names the others. *needs_no_standing*: a
    proof counted at any host in the records of releases that kept no standings; False for each newer detector.
    """

    find: Callable[[DetectorContext, Fact, float], Iterator[Finding]]
    kinds: frozenset[str]
    of_whole: bool = False
    by_our_id: bool = False
    unowned: str = ""
    doubts: tuple[str, ...] = ()
    needs_no_standing: bool = False


_COUNTS = ("prompt-length", "cached-tokens", "answer-length")  # all read the same counts

DETECTORS: dict[str, Detector] = {
    CONTRACT: Detector(ids.contract, frozenset({"echo"}), of_whole=True, unowned=CONTRACT),
    "tag": Detector(
        ids.tag, frozenset({"echo", "id", "provider_id", "token"}), of_whole=True, by_our_id=True, unowned="unknown-tag"
    ),
    "duplicate": Detector(ids.duplicate, frozenset({"born", "id", "provider_id"}), doubts=("created",)),
    "tool-call": Detector(ids.tool_call, frozenset({"token"}), doubts=("results",)),
    "strange-id": Detector(ids.strange_id, frozenset({"id"})),
    "stripped": Detector(ids.stripped, frozenset({"over"})),
    "settings": Detector(settings.repeated, frozenset({"settings"}), of_whole=True, needs_no_standing=True),
    "shape": Detector(form.shape, frozenset({"shape", "over"}), of_whole=True),
    "framing": Detector(form.framing, frozenset({"framing"})),
    "stray-head": Detector(form.stray_head, frozenset({"stray", "over"}), needs_no_standing=True),
    "disorder": Detector(
        state.disorder, frozenset({"disorder", "over"}), needs_no_standing=True, doubts=("prompt-length",)
    ),
    "created": Detector(time.created, frozenset({"date", "created"}), doubts=("duplicate",)),
    "id-order": Detector(time.order, frozenset({"id", "provider_id"})),
    "took": Detector(time.took, frozenset({"took"})),
    "age": Detector(time.age, frozenset({"kept", "age"})),
    "early": Detector(time.early, frozenset({"early", "over"})),
    "model": Detector(model.other_model, frozenset({"model"})),
    "tool-name": Detector(tools.unoffered, frozenset({"tool"})),
    "same-text": Detector(provenance.same_text, frozenset({"text", "over"})),
    "prompt-length": Detector(lengths.prompt, frozenset({"usage"}), doubts=("disorder", *_COUNTS)),
    "cached-tokens": Detector(lengths.cached, frozenset({"usage"}), doubts=_COUNTS),
    "answer-length": Detector(lengths.answer, frozenset({"usage", "over"}), doubts=_COUNTS),
    "words": Detector(words.foreign, frozenset({"text", "calls", "over"})),
    "next-turn": Detector(attested.compared, frozenset({"id", "compared", "error", "over"})),
    "binding": Detector(attested.bound, frozenset({"token", "bound", "over"})),
    "results": Detector(provenance.results, frozenset({"over"}), doubts=("tool-call",)),
}
# `Watch` gives a detector facts of its kinds only; none reads `loose`, which bounds the reach of an echo, see `verdict`
KINDS = frozenset({"loose"}).union(*(each.kinds for each in DETECTORS.values()))
BY_KIND: dict[str, tuple[tuple[str, Detector], ...]] = {
    kind: tuple((name, each) for name, each in DETECTORS.items() if kind in each.kinds) for kind in sorted(KINDS)
}
