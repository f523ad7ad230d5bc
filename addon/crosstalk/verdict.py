"""The weighing of findings: several findings about one answer become one verdict."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    victim = _victim(findings)
    found = tuple(findings)
    if any(finding.strength == "proof" for finding in found) or _agree(found):
        return Verdict("crosstalk", found, echo, victim, note)
    if any(finding.strength == "strong" for finding in found) or _most_named(found) >= 3:
        return Verdict("suspect", found, echo, victim, note)
    cleared = not loose and not _DEEP.isdisjoint(matched.values())
    return Verdict("clean" if cleared else "unverifiable", found, echo, "", note)


def _agree(findings: Sequence[Finding]) -> bool:
    families: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.strength == "strong" and finding.victim != "unknown":
            families[finding.victim].add(finding.family)
    return any(len(named) >= 2 for named in families.values())


def _most_named(findings: Sequence[Finding]) -> int:
    return max(Counter(each.victim for each in findings if each.victim != "unknown").values(), default=0)


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
