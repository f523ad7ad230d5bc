"""A fork of a context, and an option's value, are what mitmproxy's own are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mitmproxy import optmanager
from mitmproxy.options import Options
from mitmproxy.proxy.context import Context
from mitmproxy.test import tflow

from patchbay.proxy.host import contexts


def test_a_fork_shares_all_but_the_list_of_layers() -> None:
    context = Context(tflow.tclient_conn(), Options())
    context.layers.append(object())  # type: ignore[arg-type]
    made, theirs = contexts._fork(context), Context.fork(context)

    assert vars(made).keys() == vars(theirs).keys()
    for name in ("client", "server", "options"):
        assert getattr(made, name) is getattr(theirs, name) is getattr(context, name)
    assert made.layers == context.layers
    assert made.layers is not context.layers


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [(str, "a", "b"), (bool, False, True), (int, 1, 2), (Sequence[str], ["a"], ["b", "c"]), (str | None, None, "c")],
)
def test_a_value_is_what_was_set_and_cannot_be_changed_from_outside(kind: Any, default: Any, value: Any) -> None:
    option = optmanager._Option("name", kind, default, "help", None)

    assert contexts._current(option) == option.current() == default
    if isinstance(default, list):
        contexts._current(option).append("more")
        assert option.current() == default
    option.set(value)
    assert contexts._current(option) == option.current() == value
    if isinstance(value, list):
        contexts._current(option).append("more")
        assert option.current() == value
