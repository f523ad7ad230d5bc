"""No key in a message about the settings, wherever in the file it was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from patchbay.cli import main as cli

from .slips import Slip, slips

SLIPS = tuple(slips())


def test_no_piece_of_a_key_is_told_by_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: Callable[[Sequence[Slip], int], Sequence[Slip]]
) -> None:
    """T6: every text of the settings file passes one cover before it is shown."""
    file = tmp_path / "config.yaml"
    refused, leaks, tried = 0, [], share(SLIPS, 9)
    for slip in tried:
        refused += _checked(file, slip)
        told = capsys.readouterr()
        if leak := slip.leaks(told.out + told.err):
            leaks.append((slip.name, leak, told.err))

    assert leaks == []
    assert len(SLIPS) >= 500
    assert refused > 0.9 * len(tried)


def _checked(file: Path, slip: Slip) -> bool:
    file.unlink(missing_ok=True)  # some file systems take milliseconds to write over a file
    file.write_text(slip.text, encoding="utf-8")
    return cli.main(["check", str(file)]) != 0
