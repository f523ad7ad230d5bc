"""The judge of a new user's walk misses each thing that a user would miss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from scripts.new_user import KEY, Walk, judge

ANSWERS = ["one answer", "another answer"]
SESSIONS = "SESSION   TOOL         HOME       TOKENS\n403ad199  claude-code  anthropic  12,175 in (0% cached) 82 out\n"
EXPLAINED = "account   anthropic · new · anthropic\nsession   403ad199 · by claude_session (header x-…)\n"
ACCOUNTS = "ACCOUNT    STATE  UNTIL\nanthropic  ready\n"
ENDED = (
    "patchbay: no config.yaml: uses ANTHROPIC_API_KEY as account anthropic; …\npatchbay: 2 calls, none failed\n"
    "patchbay: tokens: 24.5k in (50% from cache), 162 out\npatchbay: accounts: anthropic 2; nothing flagged\n"
)
TEXTS = (*ANSWERS, SESSIONS, EXPLAINED, ACCOUNTS, ENDED)


def missing(texts: tuple[str, ...] = TEXTS, key: str = KEY, commands: int = 2) -> list[str]:
    walk = Walk("pip", commands=["…"] * commands)
    truth = [SimpleNamespace(text=answer, account="one", credential=key) for answer in ANSWERS]
    judge(walk, texts[:2], texts[2:5], texts[5], cast("Any", truth))
    return walk.missing


def test_a_whole_walk_misses_nothing() -> None:
    assert missing() == []


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("another answer", "two answers"),
        ("uses ANTHROPIC_API_KEY", "what is an account"),
        ("claude-code", "the session: its account and tokens"),
        ("12,175 in", "the session: its account and tokens"),
        (" · new", "why this account"),
        ("claude_session", "why this session"),
        ("ready", "the state of the account"),
        ("2 calls", "what went through"),
        ("24.5k", "what it cost"),
        ("anthropic 2", "who served it"),
    ],
)
def test_a_word_that_is_not_there_is_missed(word: str, what: str) -> None:
    assert missing(tuple(text.replace(word, "") for text in TEXTS)) == [what]


def test_a_foreign_key_and_a_third_command_are_missed() -> None:
    assert missing(key="another") == ["the key on the wire"]
    assert missing(commands=3) == ["2 commands at most"]
