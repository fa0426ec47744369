from __future__ import annotations

import pytest

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.networks.pyramid import Climb, find_climbs, find_steps, kernel_at, make_pyramid

from .topologies import TOPOLOGIES


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_steps_are_the_topologys_strides_again(topology) -> None:  # type: ignore[no-untyped-def]
    pyramid = make_pyramid(topology)
    assert find_steps(pyramid) == topology.strides
    assert pyramid.strides[-1] == topology.divisor


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_each_level_has_its_own_kernel(topology) -> None:  # type: ignore[no-untyped-def]
    found = tuple(kernel_at(topology, stride) for stride in make_pyramid(topology).strides)
    assert found == topology.kernels


def test_foreign_levels_take_the_nearest_finer_ones_kernel() -> None:
    topology = TOPOLOGIES["3d-anisotropic"]
    assert kernel_at(topology, (3, 3, 1)) == (3, 3, 1)
    assert kernel_at(topology, (32, 32, 32)) == (3, 3, 3)


def test_strides_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="multiple"):
        find_steps(Pyramid(2, (4, 4), ((2, 2), (3, 4))))


def test_climbs_lead_from_the_deepest_level_to_the_image() -> None:
    pyramid = Pyramid(2, (4, 6, 8), ((1, 1), (2, 1), (4, 3)))
    assert find_climbs(pyramid) == (Climb(6, 4, 4, (2, 1), (1, 1)), Climb(8, 6, 6, (2, 3), (2, 1)))


def test_a_pyramid_that_starts_coarse_has_a_last_climb_without_a_skip() -> None:
    pyramid = Pyramid(2, (4, 6), ((2, 1), (4, 2)))
    assert find_climbs(pyramid) == (Climb(4, 4, 0, (2, 1), (1, 1)), Climb(6, 4, 4, (2, 2), (2, 1)))


def test_a_single_level_of_full_size_has_nothing_to_climb() -> None:
    assert find_climbs(Pyramid(2, (4,), ((1, 1),))) == ()
