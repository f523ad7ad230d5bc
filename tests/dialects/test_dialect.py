"""What a dialect is where it does not say otherwise."""

from __future__ import annotations

import pytest

from patchbay.body import Body
from patchbay.dialects import dialect


def test_out_of_credit_is_a_429_unless_a_dialect_says_otherwise() -> None:
    assert dialect.Dialect.__dataclass_fields__["quota_status"].default == 429


@pytest.mark.parametrize("raw", [b'{"messages": []}', b"", None])
def test_without_sealed_content_a_body_stays_as_it_is(raw: bytes | None) -> None:
    default = dialect.Dialect.__dataclass_fields__["without_sealed"].default
    assert default(Body(raw), lambda mark: False) == (raw or b"")
