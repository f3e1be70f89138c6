"""The machine's clock."""

from datetime import timedelta

from rollout.adapters.clock import SystemClock


def test_the_time_is_utc_and_does_not_stand_still() -> None:
    clock = SystemClock()
    first = clock.now()
    assert first.utcoffset() == timedelta(0)
    assert any(clock.now() > first for _ in range(1_000_000))
