"""`patchbay verify`: the verdicts over the flows of a file, by the code that gives them while they pass."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .. import secret_patterns
from ..correlation import Mint
from ..crosstalk import report
from ..crosstalk.reverify import Judged, StoredExchange, judge
from ..proxy import environment
from ..router import mint_of
from ..settings import reader
from ..settings.settings import Config
from ..store import master_key
from .terminal import visible

EXIT_FOUND, EXIT_USAGE = 1, 2


def verify(arguments: argparse.Namespace) -> int:
    """Print the verdict on every stored exchange; exit code 1 when one is crosstalk, or not what was said then."""
    broken: list[str] = []
    try:
        mint = mint_of(key_in(state_folder(arguments)))
        judged = judge(_read(Path(arguments.file), mint, broken), mint)
    except (OSError, ValueError, reader.ConfigError) as e:
        print(f"{arguments.file}: {e}", file=sys.stderr)
        return EXIT_USAGE
    if broken and not judged:
        print(f"{arguments.file}: {broken[0]}", file=sys.stderr)
        return EXIT_USAGE
    for each in judged:
        if arguments.all or each.verdict.kind in ("crosstalk", "suspect") or not each.agrees:
            print(visible(line(each)))
    counts = Counter(each.verdict.kind for each in judged)
    differ = sum(not each.agrees for each in judged)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "no exchange of Patchbay's"
    print(
        f"{secret_patterns.covered(arguments.file)}: {told}" + (f"; {differ} not as it was said then" if differ else "")
    )
    for why in broken:
        print(f"{arguments.file}: {why}; what stands before that was judged", file=sys.stderr)
    return EXIT_FOUND if counts["crosstalk"] or differ else EXIT_USAGE if broken else 0


def _read(file: Path, mint: Mint, broken: list[str]) -> Iterator[StoredExchange]:
    """Yield what *file* holds, up to where it is *broken*: a proxy that was killed leaves half a flow."""
    from ..proxy import stored_flows  # the host is loaded only when it is needed

    try:
        yield from stored_flows.read(file, mint)
    except stored_flows.Unreadable as e:
        broken.append(str(e))


def line(judged: Judged) -> str:
    """Return one line about *judged*."""
    stored, verdict = judged.stored, judged.verdict
    parts = [stored.request_id, verdict.kind, report.comment(verdict)]
    if not judged.agrees:
        parts.append(f"said then: {stored.said}" + (f", victim {stored.victim}" if stored.victim else ""))
    if stored.cut:
        parts.append("the answer was not kept whole")
    return "  ".join(parts)


def state_folder(arguments: argparse.Namespace) -> Path:
    """Return the state folder that the arguments name, or that of the settings."""
    if arguments.state:
        return Path(arguments.state).expanduser()
    file = environment.settings_file(arguments.config)
    settings = reader.load(file.read_bytes(), str(file)) if file.exists() else Config(())
    return Path(settings.state).expanduser()


def key_in(folder: Path) -> bytes:
    """Return the key that is in *folder* already; a new one could know nothing again."""
    if not (folder / "master.key").exists():
        raise FileNotFoundError(f"there is no key in {folder}; name the folder with --state")
    return master_key(folder)
