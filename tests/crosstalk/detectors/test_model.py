"""Which names are one model."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.detectors.model import _ROUTERS, alike, plain


@pytest.mark.parametrize(
    ("wanted", "got"),
    [("gpt-5", "gpt-5"), ("claude-sonnet-4", "claude-sonnet-4-5"), ("claude-sonnet-4-5", "claude-sonnet-4")],
)
def test_a_name_and_its_beginning_may_be_one_model(wanted: str, got: str) -> None:
    assert alike(wanted, got)


def test_two_names_of_which_neither_begins_the_other_are_two_models() -> None:
    assert not alike("gpt-5-mini", "gpt-5-nano")
    assert not alike("sonnet", "claude-sonnet")


@pytest.mark.parametrize(
    "name",
    ["gpt-5-2026-01-15", "gpt-5@2026-01-15", "gpt-5-20260115", "gpt-5@20260115", "gpt-5-240115", "gpt-5-0115",
     "gpt-5-115", "gpt-5-latest", "gpt-5-preview", "gpt-5-exp", "gpt-5:free", "gpt-5-v1", "gpt-5-v1:0",
     "openai/gpt-5", "models/openai/GPT-5", "gpt-5-preview-0115"],
)  # fmt: skip
def test_vendor_folder_date_and_tag_are_no_part_of_a_name(name: str) -> None:
    assert plain(name) == "gpt-5"


@pytest.mark.parametrize("name", ["gpt-5-mini", "gpt-50", "gpt-5-15"])
def test_what_tells_models_apart_is(name: str) -> None:
    assert plain(name) == name


@pytest.mark.parametrize("word", ["auto", "router", "default", "best", "fast"])
def test_a_name_that_lets_the_host_choose_is_answered_by_any_model(word: str) -> None:
    assert _ROUTERS.search(word) and _ROUTERS.search(f"openrouter/{word}") and _ROUTERS.search(f"{word}-chat")
    assert not _ROUTERS.search(f"x{word}") and not _ROUTERS.search(f"{word}er")
