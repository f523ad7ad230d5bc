"""Clients that are started by `patchbay run`: each question has a proxy of its own, and they share a store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.end_to_end.harness import Proxy, certificates

# What a tool needs to run here at all; no address and no key.
ENVIRONMENT = {
    "OPENAI_MODEL": "sim-large",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}


def placeholder(folder: Path, config: str) -> Proxy:
    """Write the settings, and return what stands for the proxies of all questions: their journal and log."""
    (folder / "config.yaml").write_text(config)
    (folder / "log.txt").touch()
    certificates(folder)
    return Proxy(0, folder, subprocess.Popen([sys.executable, "-c", ""]), folder / "log.txt")


def command(folder: Path, mode: str) -> tuple[str, ...]:
    """Return the words before a tool in *mode*: none where a proxy runs already."""
    if not mode.startswith("run"):
        return ()
    look = mode == "run-look"
    return (
        sys.executable, "-P", "-m", "patchbay.cli", "run",
        *(("--look", "-v") if look else ("--config", str(folder / "config.yaml"))),
        "--set", f"confdir={folder / 'mitmproxy'}", "-w", f"+{folder / 'flows.mitm'}",
        "--set", f"ssl_verify_upstream_trusted_ca={folder / 'provider-ca' / 'provider-ca-cert.pem'}", "--",
    )  # fmt: skip
