"""
The table of detectors, by name; each family has a module.

A detector is a function of one fact and its context, and yields findings. It has no state of its own: that is in the
ledger and in the hosts' habits. The last fact of a complete answer is `over`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from . import form, ids, model, provenance, settings, state, time, tools

Detector = Callable[[DetectorContext, Fact, float], Iterator[Finding]]

# name → the detector, and the kinds of facts it reads
DETECTORS: dict[str, tuple[Detector, frozenset[str]]] = {
    "contract": (ids.contract, frozenset({"echo"})),
    "tag": (ids.tag, frozenset({"echo", "id", "provider_id", "token"})),
    "duplicate": (ids.duplicate, frozenset({"born", "id", "provider_id"})),
    "tool-call": (ids.tool_call, frozenset({"token"})),
    "strange-id": (ids.strange_id, frozenset({"id"})),
    "stripped": (ids.stripped, frozenset({"over"})),
    "settings": (settings.repeated, frozenset({"settings"})),
    "shape": (form.shape, frozenset({"shape", "over"})),
    "framing": (form.framing, frozenset({"framing"})),
    "stray-head": (form.stray_head, frozenset({"stray", "over"})),
    "disorder": (state.disorder, frozenset({"disorder", "over"})),
    "created": (time.created, frozenset({"date", "created"})),
    "took": (time.took, frozenset({"took"})),
    "age": (time.age, frozenset({"kept", "age"})),
    "early": (time.early, frozenset({"early", "over"})),
    "model": (model.other_model, frozenset({"model"})),
    "tool-name": (tools.unoffered, frozenset({"tool"})),
    "same-text": (provenance.same_text, frozenset({"text", "over"})),
    "results": (provenance.results, frozenset({"over"})),
}
# no detector reads `loose`: it bounds the reach of an echo, see `verdict`
KINDS = frozenset({"loose"}).union(*(kinds for _, kinds in DETECTORS.values()))
BY_KIND: dict[str, tuple[tuple[str, Detector], ...]] = {
    kind: tuple((name, detector) for name, (detector, kinds) in DETECTORS.items() if kind in kinds) for kind in KINDS
}
