"""When a login of a tool is over."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, strategies as st

from patchbay import logins

END = 1_800_000_000.0


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


@pytest.mark.parametrize(
    "around",
    [
        {"expiresAt": END * 1000}, {"expiresAt": int(END * 1000)}, {"expires_at": END}, {"expires_at": int(END)},
        {"expiry_date": END * 1000}, {"expires_at": "2027-01-15T08:00:00Z"}, {"expires_at": "2027-01-15T08:00:00"},
        {"expires_at": "2027-01-15T09:00:00+01:00"}, {"expiresAt": None, "expires_at": END},
    ],
)  # fmt: skip
def test_an_end_stands_beside_the_token(around: object) -> None:
    assert logins.end_of("tok", around) == END
    assert logins.end_of(jwt(exp=5), around) == END


@pytest.mark.parametrize("around", [None, [], {}, {"expiresAt": "soon"}, {"expires_at": True}, {"expires_at": -1}])
def test_a_token_may_say_its_end_itself(around: object) -> None:
    assert logins.end_of(jwt(exp=END), around) == END
    assert logins.end_of("tok", around) is None
    assert logins.end_of(jwt(sub="me"), around) is None


VALUES = st.recursive(
    st.none() | st.floats() | st.integers() | st.text(),
    lambda inner: st.dictionaries(st.sampled_from(["expiresAt", "expires_at", "a"]), inner),
)


@given(st.text(), VALUES)
def test_an_end_is_a_time_that_can_be_told_or_none(token: str, around: object) -> None:
    for text in (token, f"a.{token}.b", jwt(exp=around)):
        end = logins.end_of(text, around)
        assert end is None or "login expired at" in logins.expired(end, "")


def test_what_renews_a_login_is_told() -> None:
    assert logins.expired(END, "claude") == "login expired at 2027-01-15 08:00:00 UTC; run `claude` once"
    assert logins.expired(END, "") == "login expired at 2027-01-15 08:00:00 UTC; its tool must renew it"
    assert logins.renewal(f"file:x: {logins.expired(END, 'claude')}") == "Run `claude` once, which renews the login"
    assert logins.renewal(logins.expired(END, "")) == "Log in again with the tool that keeps this login"
    assert logins.renewal("env:KEY: is not set") == ""
