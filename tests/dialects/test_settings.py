"""The settings of the Responses API, in a form to be compared."""

from __future__ import annotations

import pytest

from patchbay import dialects

settings = dialects.of("openai_responses").settings


@pytest.mark.parametrize(
    ("value", "said"),
    [(1, "1"), (1.0, "1"), (0.25, "0.25"), (True, None), ("1", None), (10**400, None), (-(10**400), None)],
)
def test_a_number_is_compared_as_it_reads(value: object, said: str | None) -> None:
    assert settings({"temperature": value}).get("temperature") == said
