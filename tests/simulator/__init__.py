"""
A simulated provider on loopback: four dialects, HTTP/1.1 and HTTP/2, faults on demand, and the truth about all of it.

It knows nothing of the package under test: it is a second reading of the wire formats, by which the first is judged.

    with simulator_thread({"sk-a": "a", "sk-b": "b"}, echo="both") as sim:
        sim.fault("status", {"status": 429, "retry_after": 7}, account="a", times=1)
        sim.fault("swap", {"part": "body"}, path="*/chat/completions")
        ...  # requests to sim.url
        assert not sim.truth.victims()

In an event loop, the same with `async with Simulator(...)`; as a program, `python -m tests.simulator`, with the same
things under `/__sim/`. An answer begins with the marker (`MARK-` and 32 hex digits) of the last user message. In that
message, `USE_TOOL` asks for a call of the first tool, `WORDS-500` for so many words, and `SIGN_WORDS` that each of them
carries the marker, so that of any part of an answer it can be said whose it is.
"""

from __future__ import annotations

from .faults import FAULTS
from .provider import Setup
from .rules import Rule
from .simulator import Simulator, simulator_thread
from .truth import Record, Truth

__all__ = ["FAULTS", "Record", "Rule", "Setup", "Simulator", "Truth", "simulator_thread"]
