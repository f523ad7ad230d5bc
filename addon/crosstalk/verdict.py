"""The weighing of findings: several findings about one answer become one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..values.account import Depth
from ..values.decision import Finding, Verdict

_DEEP: frozenset[Depth] = frozenset({"body", "engine"})


def weigh(findings: Sequence[Finding], matched: Mapping[str, Depth], note: str = "", *, loose: bool = False) -> Verdict:
    """
    Weigh *findings* and the places where our id came back (*matched*: place → depth).

    A proof is crosstalk, and so are two strong findings of different families that name one victim. One strong finding,
    or three weak ones that name one victim, make the answer suspect. Otherwise an echo from the body or the engine
    clears it, unless it is *loose*: later events of the stream carry no id. All else is unverifiable.
    """
    echo = _deepest(matched)
    found = tuple(findings)
    strengths = {finding.strength for finding in found}
    if "proof" in strengths or _agree(found):
        return Verdict("crosstalk", found, echo, _victim(found), note)
    if "strong" in strengths or _most_named(found) >= 3:
        return Verdict("suspect", found, echo, _victim(found), note)
    cleared = not loose and not _DEEP.isdisjoint(matched.values())
    return Verdict("clean" if cleared else "unverifiable", found, echo, "", note)


def _agree(findings: Sequence[Finding]) -> bool:
    named = {(each.victim, each.family) for each in findings if each.strength == "strong" and each.victim != "unknown"}
    return len({victim for victim, _ in named}) < len(named)


def _most_named(findings: Sequence[Finding]) -> int:
    named = [each.victim for each in findings if each.victim != "unknown"]
    return max([named.count(victim) for victim in named], default=0)


def _victim(findings: Sequence[Finding]) -> str:
    """Return the only victim of the strongest findings that name any, else `unknown`."""
    for strength in ("proof", "strong", "weak"):
        named = {finding.victim for finding in findings if finding.strength == strength} - {"unknown"}
        if named:
            return named.pop() if len(named) == 1 else "unknown"
    return "unknown"


def _deepest(matched: Mapping[str, Depth]) -> str:
    """Return where our id came back: `body`, else `header`."""
    places = sorted(matched, key=lambda place: matched[place] in _DEEP, reverse=True)
    return places[0].partition(" ")[0] if places else ""
