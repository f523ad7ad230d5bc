"""
What `mitmdump -s addon/main.py` loads: names this folder `patchbay` and hands the addon over.

mitmproxy runs this file again whenever it changes on disk, and no other. So it never needs to change, keeps no state,
and picks up the package that is already running instead of loading a second copy of it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _register(folder: Path) -> None:
    """
    Make *folder* the package `patchbay`, ahead of one that is merely installed.

    Raises ImportError when the package of another folder is running here: two of them would share accounts and not know
    of each other, and swapping it would tear apart what is in flight.
    """
    running = sys.modules.get("patchbay")
    if running is not None:
        origin = Path(running.__file__ or "").resolve().parent
        if origin != folder:
            raise ImportError(f"{folder} cannot be loaded: patchbay is already running from {origin}")
        return
    spec = importlib.util.spec_from_file_location(
        "patchbay", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not the folder of a package")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["patchbay"] = module


_register(Path(__file__).resolve().parent)

from patchbay import needs  # noqa: E402 (the name exists only now)

needs.check(Path(__file__).resolve().parent)

from patchbay.proxy.hooks import Patchbay  # noqa: E402 (what it imports is there)

addons = [Patchbay()]
