"""Users in steps."""

from __future__ import annotations

import pytest

from load_test.step_ramp import users_at


@pytest.mark.parametrize(
    ("seconds", "users"), [(0, 4), (59.9, 4), (60, 8), (120, 10), (179, 10), (180, None), (1000, None)]
)
def test_each_step_adds_users_up_to_the_most(seconds: float, users: int | None) -> None:
    assert users_at(seconds, step_users=4, step_seconds=60, most=10) == users
