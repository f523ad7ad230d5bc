"""`patchbay verify`: verdicts on the flows of a file, by the code that judges live answers."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .. import secret_patterns
from ..correlation import Mint
from ..crosstalk import report
from ..crosstalk.reverify import Judged, StoredExchange, judge
from ..router import mint_of
from ..visible_text import visible
from . import inputs
from .inputs import EXIT_FOUND, EXIT_USAGE, CommandError


def verify(arguments: argparse.Namespace) -> int:
    """Print the verdict on stored exchanges: crosstalk, and verdicts that differ from the live ones."""
    broken: list[str] = []
    mint = mint_of(inputs.existing_key(inputs.state_folder(inputs.settings(arguments))))
    judged = judge(_read(Path(arguments.file), mint, broken), mint)
    if broken and not judged:
        raise CommandError(f"{arguments.file}: {broken[0]}")
    for each in judged:
        if arguments.all or each.verdict.kind in ("crosstalk", "suspect") or not each.agrees:
            print(visible(line(each)))
    counts = Counter(each.verdict.kind for each in judged)
    differ = sum(not each.agrees for each in judged)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "no exchange of Patchbay"
    print(
        f"{secret_patterns.covered(arguments.file)}: {told}"
        + (f"; {differ} not as they were judged live" if differ else "")
    )
    for why in broken:
        print(f"{arguments.file}: {why}; the flows before that were judged", file=sys.stderr)
    return EXIT_FOUND if counts["crosstalk"] or differ else EXIT_USAGE if broken else 0


def _read(file: Path, mint: Mint, broken: list[str]) -> Iterator[StoredExchange]:
    """Yield the exchanges of *file* up to where it is *broken*: a killed proxy leaves half a flow."""
    from ..proxy import stored_flows  # the host is loaded only when it is needed

    try:
        yield from stored_flows.exchanges(file, mint)
    except stored_flows.BrokenDump as e:
        broken.append(str(e))


def _time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def line(judged: Judged) -> str:
    """Return the line printed for *judged*."""
    stored, verdict = judged.stored, judged.verdict
    parts = [stored.request_id, verdict.kind, *filter(None, [report.evidence(verdict)])]
    if change := judged.change:
        parts.append(f"{change.was} until {_time(change.time)}, when exchange {change.by} was answered")
    if not judged.agrees:
        kind, victim = judged.recorded
        parts.append(f"judged live: {kind}" + (f", victim {victim}" if victim else ""))
    if stored.cut:
        parts.append("the answer was not stored whole")
    return "  ".join(parts)
