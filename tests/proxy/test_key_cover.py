"""Names of a client without keys: those that are known, and those that it presented."""

from __future__ import annotations

import pytest

from patchbay.proxy.credentials import Credentials
from patchbay.proxy.key_cover import GivenNames, KeyCover
from patchbay.values.account import Secret

from .addon import in_loop

OWN, REAL = "Zq02clientsown0123456789abcdef", "Zq51realaccountkeyone0123456789ab"


@pytest.mark.parametrize("text", ["{}", "gpt/{}", "{}{}", "x" * 240 + "{}", "x" * 300 + "{}"])
def test_what_the_client_presented_is_covered(text: str) -> None:
    names = GivenNames(Credentials().texts, (OWN.encode(),))

    assert OWN[:8] not in names(text.format(OWN, OWN))


@in_loop
async def test_a_name_is_searched_again_once_other_keys_are_known() -> None:
    keys = Credentials()
    names = GivenNames(keys.texts, ())
    assert names(REAL) == REAL and names(OWN) == OWN

    await keys.ready(Secret("literal", REAL))
    keys.passing.note([OWN.encode()])

    assert REAL[:8] not in names(REAL) and OWN[:8] not in names(OWN)


def test_a_name_is_searched_once() -> None:
    searched: list[str] = []

    def scrub(text: str) -> str:
        searched.append(text)
        return text

    names = GivenNames(KeyCover(scrub), ())
    assert [names("gpt-5") for _ in range(3)] == ["gpt-5"] * 3 and searched == ["gpt-5"]
