"""The context of a stream without a connection that is thrown away, and plain values of options without a deep copy."""

from __future__ import annotations

import copy
from typing import Any

from mitmproxy import optmanager
from mitmproxy.proxy.context import Context

from .host_step import HostStep

_PLAIN = frozenset({bool, int, float, str, type(None)})  # immutable


def _fork(self: Context) -> Context:
    made = object.__new__(Context)
    made.client = self.client
    made.options = self.options
    made.server = self.server
    made.layers = self.layers.copy()
    return made


def _current(self: Any) -> Any:
    value = self._default if self.value is optmanager.unset else self.value
    return value if type(value) in _PLAIN else copy.deepcopy(value)


CONTEXTS = HostStep(
    replaced=(
        (Context, "fork", _fork),
        (optmanager._Option, "current", _current),
    ),
    known=(Context.__init__, optmanager._Option),
    written_for=("6670ef63a95d594b",),  # 12.2.0 to 12.3.1
)
