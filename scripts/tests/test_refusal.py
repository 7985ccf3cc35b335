"""How long to stay away."""

from __future__ import annotations

import pytest

from load_test.refusal import retry_after_seconds, wait_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "12"}, 12), ({"retry-after": " 5 "}, 5), ({}, None), ({"Retry-After": "Fri, 31 Dec"}, None)],
)
def test_the_header_is_read_in_any_case(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


def test_the_wait_is_as_long_as_asked_and_a_quarter_more_at_most() -> None:
    for _ in range(100):
        assert 12 <= wait_seconds(12) <= 15
        assert 5 <= wait_seconds(None) <= 6.25
