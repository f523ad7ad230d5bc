"""The detector of settings: an answer (Responses API) repeats settings that its request did not send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...frozen import dataclass
from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_FORM_PROOF, RUN_PROOF, RUN_STRONG, Standing
from ..recent import RecentExchanges
from .finding import finding

FAMILY = "settings"
# Settings whose values a server cannot guess; numbers are not among them, since a server has defaults.
_DISTINCT = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user", "instructions", "metadata.")
_NAMES = frozenset({"user", "safety_identifier", "prompt_cache_key"})  # in which a gateway may write its tenant
_DIGESTED = ("instructions", "tools")  # compared as digests, from which a reader of a finding could guess the words
_MIN_LENGTH, _MIN_DISTINCT = 8, 4  # characters, and distinct ones, above which equal values are no chance


def repeated(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Settings other than ours: proof where exactly one other exchange sent them.

    One setting is a proof at a host that repeats it; otherwise it takes two, of an exchange that still waits, because
    gateways write their tenant's name into every answer. A value that came in several answers has no owner. Only
    settings that we sent are compared. A difference alone is strong where the host has always repeated the setting, and
    no sign where it rewrites it habitually.
    """
    if not isinstance(fact.value, Mapping) or ctx.request is None or not ctx.record.generation or ctx.status >= 400:
        return
    differing: list[_Difference] = []
    for name, mine in ctx.request.settings.items():
        theirs = fact.value.get(name)
        if theirs is None:
            continue
        if theirs == mine:
            ctx.kept.add(_rule(name))
        elif ctx.memory is not None:
            differing.append(_compared(ctx, ctx.memory, name, mine, str(theirs)))
    for each in differing:
        alike = {_rule(other.name) for other in differing if other.owner and other.owner is each.owner}
        yield from _findings(ctx, each, len(alike), now)


@dataclass(frozen=True, slots=True)
class _Difference:
    """
    One setting that differs. *sender*: the only exchange that sent this value.

    *owner*: the sender, if it waits for its answer and a server cannot guess the value. *telling*: the value is too
    long and varied for chance. *common*: the host writes it into several answers, or derived it from ours.
    """

    name: str
    mine: str
    theirs: str
    sender: Entry | None
    owner: Entry | None
    telling: bool
    waits: bool
    common: bool


def _compared(ctx: DetectorContext, memory: RecentExchanges, name: str, mine: str, theirs: str) -> _Difference:
    other = memory.sender(ctx.record.host, name, theirs)
    if other is not None and (other.exchange == ctx.entry.exchange or ctx.asked_alike(other)):
        other = None
    waiting = {live.entry.exchange: live.entry for live in ctx.concurrent()} if other is not None else {}
    owner = waiting.get(other.exchange) if other is not None else None
    distinct = name.startswith(_DISTINCT)
    common = _rewritten(mine, theirs) or (distinct and _is_common(ctx, memory, name, theirs))
    told = owner if distinct and not common else None
    telling = len(theirs) >= _MIN_LENGTH and len(set(theirs)) >= _MIN_DISTINCT
    return _Difference(name, mine, theirs, other, told, telling, owner is not None, common)


def _findings(ctx: DetectorContext, diff: _Difference, alike: int, now: float) -> Iterator[Finding]:
    rule = _rule(diff.name)
    if diff.owner is not None and (diff.telling or alike > 1):  # a misdelivered answer shows no habit of the host
        ctx.broken.add(rule)
    else:
        ctx.broke(rule, now, found=ctx.swap_note(diff.owner), explained=diff.owner is not None, misdelivery=True)
    if ctx.void(rule):
        return
    mine, theirs = _told(ctx, diff.name, diff.mine), _told(ctx, diff.name, diff.theirs)
    place = Fact("settings", theirs, f"body {diff.name}")
    telling = diff.telling and diff.name.startswith(_DISTINCT)
    known = diff.sender is not None and telling and ctx.stands(rule, RUN_FORM_PROOF)
    repeats = ctx.stands_explained(rule) and ctx.standing(rule).kept >= RUN_PROOF
    owned = diff.owner is not None and (alike > 1 or (diff.telling and repeats))
    if owned or (known and not diff.common):
        yield finding("settings", FAMILY, "proof", place, mine, diff.sender)
    elif not diff.common and (_seldom(ctx, diff, rule) or ctx.suspects(rule, RUN_STRONG)):
        yield finding("settings", FAMILY, "strong", place, mine, diff.sender)
    else:
        yield finding("settings", FAMILY, "weak", place, mine)


def _told(ctx: DetectorContext, name: str, value: str) -> str:
    """Return *value* as a finding shows it."""
    return ctx.mint.keyed(value.encode("utf-8", "surrogatepass")).hex() if name in _DIGESTED else value


def _seldom(ctx: DetectorContext, diff: _Difference, rule: str) -> bool:
    if diff.owner is not None:
        standing = ctx.standing(rule)  # a gateway with its tenant's name in every answer has never repeated ours
        named = diff.name in _NAMES and not standing.kept
        return ctx.swapped(rule, diff.owner) or not (standing.broken or named)
    return diff.waits and diff.name == "tools" and ctx.stands_explained(rule)


def _rewritten(mine: str, theirs: str) -> bool:
    """Whether a host may have derived *theirs* from *mine*: other case or white space, a part, or an addition."""
    ours, got = ("".join(value.casefold().split()) for value in (mine, theirs))
    shorter = min(len(ours), len(got))
    return ours == got or (shorter >= _MIN_LENGTH and (ours in got or got in ours))


def _rule(name: str) -> str:
    return f"settings {name.partition('.')[0]}"


def _is_common(ctx: DetectorContext, memory: RecentExchanges, name: str, value: str) -> bool:
    """Whether another exchange received *value* without having sent it; the record keeps the result."""
    common = memory.received(ctx.record.host, name, value, ctx.entry.exchange)
    return ctx.standings.setdefault(f"settings {name} of several", Standing(broken=int(common))).broken > 0
