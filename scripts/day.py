"""
Simulated days: conversations over accounts with faults, through the real router on a simulated clock.

A turn is cold when the account that serves it does not hold the conversation's prompt cache: it never served it, or
longer ago than the cache lives. The first turn of a conversation is always cold and is not counted.

`--ablate` switches off one mechanism after another and shows what each day is like without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

from patchbay.accounts.cooldown import PENALTIES, Penalty
from patchbay.settings.settings import FailoverSettings, QueueSettings, SessionSettings

from .ablations import ELSEWHERE, MECHANISMS
from .days import DAYS, clear
from .simulated_day import Tally, live

PAGE = Path(__file__).parent.parent / "docs" / "days.md"
AS_IT_IS = "as it is"
TEXT = """\
# Simulated days

Written by `scripts/day --ablate --write`. Each day puts conversations and faulty accounts on the real router, with a \
simulated clock; it has the conditions that some mechanisms were built for.

| day | conditions |
|---|---|
{days}

*cold*: turns at an account without the conversation's prompt cache. *failed*: exchanges that ended with an error, of \
conversations that some account would serve. *wasted*: attempts at an account that had failed before and had not \
recovered. *lower*: turns at an account below the highest priority. *p95*: the wait of which 95 % of the turns stay \
below, in seconds, the client's retries included. Figures are sums over {seeds} seeds.

{figures}

Measured with these penalties (`PENALTIES` in `addon/accounts/cooldown.py`), in seconds:

{penalties}

and with the default of each setting in these sections, but for `attempts`, which is 4:

{defaults}

## Without one mechanism

Each cell is *cold / failed / wasted* with the mechanism switched off; `=` where nothing changed. The last column \
names the days that get worse on most seeds: more cold turns and failures in sum, or as many of them and more wasted \
attempts or turns at a lower priority. A mechanism that nothing needs is deleted.

{table}

## Deleted

These mechanisms moved no figure of any other day, over the seeds 1 to 3.

- Penalties applied again. When a third account succeeded, penalties that had been taken back as the upstream's fault \
were applied again. Without it, *burst* has 75 cold turns fewer (550 instead of 625) and as many failures (1321).
- Half-forgetting. After a recovery from a rate limit the backoff began at half of its former level. Without it, no \
figure of any day changes.
- Jitter. The cooldown of a Retry-After ended up to 5 seconds later than stated, at random. Without it, *ordinary* has \
one wasted attempt more (53 instead of 52) and *equal openings* one cold turn more and four failures fewer: one probe \
at a time already keeps the waiting requests apart.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 when a claim does not hold, or when no day needs one of the mechanisms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ablate", action="store_true", help="switch off each mechanism in turn (minutes)")
    parser.add_argument("--seeds", type=int, default=3, help="with --ablate: so many seeds, from --seed on")
    parser.add_argument("--without", action="append", choices=MECHANISMS, help="only this mechanism; may be repeated")
    parser.add_argument("--write", action="store_true", help="with --ablate: write docs/days.md")
    options = parser.parse_args(argv)
    if options.write and options.without:
        parser.error("docs/days.md shows every mechanism")
    if options.ablate or options.without:
        seeds = range(options.seed, options.seed + options.seeds)
        return ablate(seeds, options.without or list(MECHANISMS), write=options.write)
    holds = compare(options.seed)
    print(f"\n{figures({day.name: [live(day, options.seed)] for day in DAYS})}")
    return 0 if holds else 1


def compare(seed: int) -> bool:
    """Print an ordinary day beside other ways of choosing; say whether the claims hold."""
    ordinary, plain = DAYS[0], SessionSettings(order=())
    runs = {
        "Patchbay, no faults": live(replace(ordinary, sky=clear), seed),
        "Patchbay": live(ordinary, seed),
        "on_error: clear": live(ordinary, seed, sessions=SessionSettings(on_error="clear")),
        "round robin": live(ordinary, seed, sessions=plain, strategy="round_robin"),
        "fill first": live(ordinary, seed, sessions=plain, strategy="fill_first"),
    }
    print(f"An ordinary day over {len(ordinary.accounts)} accounts, seed {seed}\n")
    print(f"{'':24}{'turns':>8}{'cold':>8}{'share':>9}{'failed':>8}")
    for name, tally in runs.items():
        print(f"{name:24}{tally.turns:8}{tally.cold:8}{tally.cold / tally.turns:9.2%}{tally.failed:8}")
    shares = {name: tally.cold / tally.turns for name, tally in runs.items()}
    extra = shares["Patchbay"] - shares["Patchbay, no faults"]
    cleared = shares["on_error: clear"] - shares["Patchbay, no faults"]
    claims = [
        (extra <= 0.02, f"faults cost {extra:.2%} of the turns their cache, at most 2 points"),
        (extra <= cleared / 3, f"that is at most a third of what clearing on every fault costs ({cleared:.2%})"),
        (not runs["Patchbay"].failed, "no turn failed"),
    ]
    print()
    for holds, text in claims:
        print(f"  {'✓' if holds else '✗ NOT SO:'} {text}")
    return all(holds for holds, _ in claims)


def figures(found: dict[str, list[Tally]]) -> str:
    """Return the table of the days as they are."""
    lines = ["| day | turns | cold | failed | wasted | lower | p95 |", "|---|--:|--:|--:|--:|--:|--:|"]
    for name, tallies in found.items():
        day = _sum(tallies)
        cells = (name, day.turns, day.cold, day.failed, day.wasted, day.lower, f"{day.p95:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def penalties() -> str:
    """Return the table of what each outcome costs."""
    lines = ["| outcome | first | factor | at most | failures |", "|---|--:|--:|--:|--:|"]
    for kind, row in PENALTIES.items():
        if isinstance(row, Penalty):
            lines.append(f"| {kind} | {row.first:g} | {row.factor:g} | {row.cap:g} | {row.failures} |")
    return "\n".join(lines)


def defaults() -> str:
    """Return the settings that the days use, section by section, with their defaults."""
    sections: dict[str, SessionSettings | FailoverSettings | QueueSettings]
    sections = {"sessions": SessionSettings(), "failover": FailoverSettings(), "queue": QueueSettings()}
    return "\n".join(
        f"- `{name}`: " + ", ".join(f"{each.name} {_plain(getattr(section, each.name))}" for each in fields(section))
        for name, section in sections.items()
    )


def _plain(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def ablate(seeds: Sequence[int], mechanisms: Sequence[str], *, write: bool) -> int:
    """Print, and *write*, the days without each of *mechanisms*; return 1 when no day needs one of them."""
    names = (AS_IT_IS, *mechanisms)
    tasks = [(name, day, seed) for day in range(len(DAYS)) for name in names for seed in seeds]
    found: dict[tuple[str, str], list[Tally]] = {}
    with ProcessPoolExecutor(2) as pool:
        for (name, day, _), tally in zip(tasks, pool.map(_without, tasks), strict=True):
            found.setdefault((name, DAYS[day].name), []).append(tally)
    needed = {name: list(_needs(name, found)) for name in mechanisms}
    whole = figures({day.name: found[AS_IT_IS, day.name] for day in DAYS})
    table = _table(found, needed)
    print(f"{whole}\n\n{table}")
    if write:
        days = "\n".join(f"| {day.name} | {day.why} |" for day in DAYS)
        PAGE.write_text(
            TEXT.format(
                days=days, seeds=len(seeds), figures=whole, penalties=penalties(), defaults=defaults(), table=table
            ),
            encoding="utf-8",
        )
    return 0 if all(needed[name] or name in ELSEWHERE for name in mechanisms) else 1


def _without(task: tuple[str, int, int]) -> Tally:
    name, day, seed = task
    with MECHANISMS.get(name, nullcontext)():
        return live(DAYS[day], seed)


def _needs(mechanism: str, found: dict[tuple[str, str], list[Tally]]) -> Iterator[str]:
    """Yield the days that get worse without *mechanism*."""
    for day in DAYS:
        pairs = list(zip(found[AS_IT_IS, day.name], found[mechanism, day.name], strict=True))
        lost = [without.cold + without.failed - whole.cold - whole.failed for whole, without in pairs]
        wasted = [without.wasted - whole.wasted for whole, without in pairs]
        lower = [without.lower - whole.lower for whole, without in pairs]
        if _is_worse(lost) or (sum(lost) >= 0 and (_is_worse(wasted) or _is_worse(lower))):
            yield day.name


def _is_worse(differences: list[int]) -> bool:
    return sum(differences) > 0 and sum(each > 0 for each in differences) * 2 > len(differences)


def _table(found: dict[tuple[str, str], list[Tally]], needed: dict[str, list[str]]) -> str:
    lines = ["| without | " + " | ".join(day.name for day in DAYS) + " | worse |", "|---|" + "---|" * (len(DAYS) + 1)]
    whole = [_cell(found[AS_IT_IS, day.name]) for day in DAYS]
    lines.append(f"| *{AS_IT_IS}* | " + " | ".join(whole) + " | |")
    for name in needed:
        cells = [_cell(found[name, day.name]) for day in DAYS]
        shown = ["=" if cell == before else cell for cell, before in zip(cells, whole, strict=True)]
        lines.append(
            f"| {name} | " + " | ".join(shown) + f" | {', '.join(needed[name]) or ELSEWHERE.get(name, '**none**')} |"
        )
    return "\n".join(lines)


def _cell(tallies: list[Tally]) -> str:
    day = _sum(tallies)
    return f"{day.cold} / {day.failed} / {day.wasted}"


def _sum(tallies: list[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole


if __name__ == "__main__":
    sys.exit(main())
