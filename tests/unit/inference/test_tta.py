import itertools

import pytest
import torch

from medseg.inference.tta import flip_sets, flipped_mean


def test_flip_sets_are_all_subsets():
    assert flip_sets(()) == [()]
    assert flip_sets((2, 0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(flip_sets((0, 1, 2))) == 8


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_equals_a_loop_over_mirrored_copies(axes):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand((2, 1, 4, 5, 6), generator=generator)
    kernel = torch.rand((1, 1, 4, 5, 6), generator=generator)

    def score(x):
        return torch.cat([x * kernel, x.cumsum(2)], dim=1)

    total, count = torch.zeros((2, 2, 4, 5, 6)), 0
    for use in itertools.product(*[(False, True) if a in axes else (False,) for a in range(3)]):
        dims = [a + 2 for a in range(3) if use[a]]
        total += torch.flip(score(torch.flip(image, dims)), dims)
        count += 1
    torch.testing.assert_close(flipped_mean(score, image, axes), total / count)


def test_a_score_that_ignores_direction_is_not_changed():
    image = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    assert torch.equal(flipped_mean(lambda x: x > 3, image, ()), image > 3)
    torch.testing.assert_close(flipped_mean(lambda x: x * 2, image, (0, 1, 2)), image * 2)
