"""Which ids of a provider are random enough to belong to one answer."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.detectors.ids import _random, is_distinctive


@pytest.mark.parametrize(
    "value",
    [
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "msg_bdrk_01XFDUDYJgAACzvnptvVoYEL",
        "gen-1733756123-xYzAbCdEfGh",
        "req_011CPR5Cxyz8f3k",
        "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f",
        "cmpl-1a2b3c4d5e6f7a8b",
    ],
)
def test_a_random_id_is_telling(value: str) -> None:
    assert is_distinctive(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "chatcmpl-417",
        "cmpl-9",
        "resp_999999",
        "chat.id.12",
        "chatcmpl-",
        "0",
        "chatcmpl-000000000000000",
        "x" * 500,
    ],
)
def test_a_counter_is_not(value: str) -> None:
    assert not is_distinctive(value)


@pytest.mark.parametrize("value", ["toolu_01abc", "call_a1", "call_1a", "call_XyZaBcDeFgHi", "fc_qWeRtYuIoP"])
def test_letters_among_digits_or_capitals_strewn_about_look_drawn(value: str) -> None:
    assert _random(value)


@pytest.mark.parametrize("value", ["call_weather", "123456", "call_getWeatherToday", "CALL", ""])
def test_a_word_a_count_and_a_name_with_humps_do_not(value: str) -> None:
    assert not _random(value)


@pytest.mark.parametrize(
    ("value", "tells"),
    [("chatcmpl-abcdef123456", True), ("chatcmpl-abcdef12345", False), ("abcdef" * 2, True), ("abcde" * 3, False),
     ("a1b2c3" + "d" * 250, True), ("a1b2c3" + "d" * 251, False)],
)  # fmt: skip
def test_an_id_tells_from_twelve_characters_of_six_kinds_on(value: str, tells: bool) -> None:
    assert is_distinctive(value) == tells
