"""The begin of the command, where a package is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_an_environment_that_lacks_a_package_is_told_in_one_line(tmp_path: Path) -> None:
    """T1: whatever imports it: the sub-commands read the settings, and those need more than Python."""
    (tmp_path / "yaml.py").write_text("raise ImportError('of another Python')")
    (tmp_path / "patchbay").symlink_to(ROOT / "addon")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from patchbay.cli.entry import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "version"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert done.stderr.startswith("patchbay does not run in this mitmproxy ")
    assert "pyyaml is installed, and cannot be imported; to fix it, run:  " in done.stderr
    assert done.stderr.count("\n") == 1
