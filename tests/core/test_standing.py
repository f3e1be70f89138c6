"""Where the mesh stands against the order. Each row is a world somebody can make."""

import pytest

from rollout.core.release import Phase, Release
from rollout.core.standing import Standing, is_anothers, standing
from tests import given

SHIFTING = given.release(Phase.SHIFTING, step=1)
"""Ordered 30 % under epoch 3; 10 % under epoch 2 was seen before."""
HOLDING = given.release(Phase.ANALYSING, step=1)
"""Ordered 30 % under epoch 3, and seen."""
CLAIMING = given.release(Phase.PREPARING, confirmed=None)
"""Ordered 0 % under epoch 1, nothing seen yet."""


@pytest.mark.parametrize(
    ("release", "percent", "epoch", "author", "expected"),
    [
        (SHIFTING, 30, 3, given.NAME, Standing.SEEN),
        (HOLDING, 30, 3, given.NAME, Standing.SEEN),
        (CLAIMING, 0, 1, given.NAME, Standing.SEEN),
        # not written yet
        (SHIFTING, 10, 2, given.NAME, Standing.PENDING),
        (CLAIMING, 0, 0, "", Standing.PENDING),
        # the annotations were lost, the weights were not
        (SHIFTING, 10, 0, "", Standing.PENDING),
        (HOLDING, 30, 0, "", Standing.PENDING),
        (HOLDING, 30, 3, "", Standing.PENDING),
        # a newer order
        (HOLDING, 30, 4, given.NAME, Standing.TAKEN),
        (HOLDING, 0, 4, "checkout-v3", Standing.TAKEN),
        (HOLDING, 30, 3, "checkout-v3", Standing.TAKEN),
        (HOLDING, 30, 4, "", Standing.TAKEN),
        # a person put all traffic back: by edit, by replace, before or after our last order
        (HOLDING, 0, 3, given.NAME, Standing.BACK_AT_STABLE),
        (HOLDING, 0, 0, "", Standing.BACK_AT_STABLE),
        (SHIFTING, 0, 2, given.NAME, Standing.BACK_AT_STABLE),
        (SHIFTING, 0, 3, given.NAME, Standing.BACK_AT_STABLE),
        # an old object put back from elsewhere is no wish to abort
        (given.release(Phase.ANALYSING, step=2), 0, 1, given.NAME, Standing.DRIFTED),
        # other weights
        (HOLDING, 20, 3, given.NAME, Standing.DRIFTED),
        (HOLDING, 20, 0, "", Standing.DRIFTED),
        (SHIFTING, 10, 3, given.NAME, Standing.DRIFTED),
        (CLAIMING, 5, 0, "", Standing.DRIFTED),
    ],
)
def test_the_route_is_told_apart_from_the_order(
    release: Release, percent: int, epoch: int, author: str, expected: Standing
) -> None:
    assert standing(release.status, given.mesh(percent, epoch, author), given.NAME) is expected


def test_an_order_without_a_name_is_nobody_elses() -> None:
    assert not is_anothers(given.mesh(release=""), given.NAME)
    assert not is_anothers(given.mesh(release=given.NAME), given.NAME)
    assert is_anothers(given.mesh(release="checkout-v3"), given.NAME)
