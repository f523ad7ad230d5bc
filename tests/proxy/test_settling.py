"""What was loaded at the start is not looked through again and again."""

from __future__ import annotations

import gc

from patchbay.proxy import option_defaults


def test_the_collector_leaves_alone_what_was_loaded() -> None:
    before = gc.get_threshold()
    try:
        option_defaults.settle()

        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
