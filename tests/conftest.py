"""Make the folder `addon` importable as the package `patchbay`, as the wheel and the shim do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ADDON = Path(__file__).parent.parent / "addon"

if "patchbay" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "patchbay", ADDON / "__init__.py", submodule_search_locations=[str(ADDON)]
    )
    assert spec and spec.loader
    sys.modules["patchbay"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
