"""The comment and the mark that a user sees on a flow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from patchbay.proxy import flow_view
from patchbay.values.decision import Verdict

TRIED = (("a", "rate"), ("b", "auth"), ("one", "ok"))


def decided(kind: str = "clean", **more: Any) -> tuple[Any, Any]:
    """Return an exchange and its decision."""
    members = {
        "mode": "serve", "account": "one", "binding": "hit", "tier": "codex", "session": "0123456789abcdef",
        "attempts": [SimpleNamespace(account="one", outcome="ok")], "error": "", "verdict": kind,
    }  # fmt: skip
    verdict: Any = kind
    return SimpleNamespace(verdict=Verdict(verdict)), SimpleNamespace(**members | more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "no echo · one (hit) · codex 01234567"),
        ({"mode": "shadow"}, "shadow · no echo · one (hit) · codex 01234567"),
        ({"account": ""}, "no echo · codex 01234567"),
        ({"tier": ""}, "no echo · one (hit)"),
        ({"error": "the client left"}, "no echo · one (hit) · codex 01234567 · the client left"),
        (
            {"attempts": [SimpleNamespace(account=account, outcome=outcome) for account, outcome in TRIED]},
            "no echo · one (hit) · codex 01234567 · after a: rate, b: auth",
        ),
    ],
)  # fmt: skip
def test_the_comment_is_one_line(more: dict[str, Any], said: str) -> None:
    assert flow_view.comment(*decided(**more)) == said


@pytest.mark.parametrize(
    ("kind", "mark"), [("crosstalk", ":rotating_light:"), ("suspect", ":warning:"), ("clean", ":mine:"), ("", ":mine:")]
)
def test_only_what_needs_a_look_is_marked(kind: str, mark: str) -> None:
    flow = tflow.tflow()
    flow.marked = ":mine:"
    flow_view.show(flow, *decided(kind))

    assert flow.marked == mark
    assert flow.comment
