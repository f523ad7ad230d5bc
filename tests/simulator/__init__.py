"""
A simulated provider on loopback: four dialects, HTTP/1.1 and HTTP/2, faults on demand, and the truth about all of it.

It knows nothing of the package under test: it is a second reading of the wire formats, by which the first is judged.
"""

from __future__ import annotations

from .faults import FAULTS
from .provider import Setup
from .rules import Rule
from .simulator import Simulator, simulator_thread
from .truth import Record, Truth

__all__ = ["FAULTS", "Record", "Rule", "Setup", "Simulator", "Truth", "simulator_thread"]
