import pytest
import torch
from torch import nn

from medseg.errors import UserError
from medseg.inference.hardware import autocast, choose_device, choose_precision
from medseg.inference.scoring import WindowScore, probabilities


class Scale(nn.Module):
    """Logits that are multiples of the first modality, where it is present."""

    def __init__(self, factors, dims=3):
        super().__init__()
        self.factors, self.dims = factors, dims

    def forward(self, image, present=None):
        assert image.ndim == 2 + self.dims
        first = image[:, :1] * present[:, :1].reshape(-1, *[1] * (1 + self.dims))
        return (torch.cat([first * f for f in self.factors], dim=1),)


def score(networks, **changes):
    values = {
        "networks": networks,
        "overlapping": False,
        "flip_axes": (),
        "spatial_dims": 3,
        "present": torch.tensor([True, True]),
        "device": torch.device("cpu"),
        "precision": "32",
    }
    return WindowScore(**(values | changes))


IMAGE = torch.randn((2, 2, 3, 4, 5), generator=torch.Generator().manual_seed(0))


def test_an_ensemble_is_the_mean_of_probabilities():
    a, b = Scale((0.0, 1.0, 2.0)), Scale((3.0, 1.0, -2.0))
    expected = (a(IMAGE, torch.ones(2, 2))[0].softmax(1) + b(IMAGE, torch.ones(2, 2))[0].softmax(1)) / 2
    torch.testing.assert_close(score([a, b])(IMAGE), expected)


def test_regions_are_sigmoids():
    a = Scale((1.0, -1.0))
    expected = torch.cat([IMAGE[:, :1], -IMAGE[:, :1]], dim=1).sigmoid()
    torch.testing.assert_close(score([a], overlapping=True)(IMAGE), expected)
    assert probabilities(IMAGE.half(), True).dtype == torch.float32


def test_slices_reach_a_2d_network_without_depth():
    found = score([Scale((0.0, 1.0), dims=2)], spatial_dims=2, flip_axes=(0, 1))(IMAGE[..., :1])
    assert found.shape == (2, 2, 3, 4, 1)


def test_the_network_is_told_which_modalities_there_are():
    found = score([Scale((0.0, 1.0))], present=torch.tensor([False, True]))(IMAGE)
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


def test_nothing_keeps_a_graph():
    conv = nn.Conv3d(2, 2, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, image, present=None):
            return (self.conv(image),)

    assert not score([Net()])(IMAGE).requires_grad


def test_precision_follows_the_hardware_unless_named():
    cpu = torch.device("cpu")
    assert choose_precision("32", cpu) == "32"
    assert choose_precision("bf16", cpu) == "bf16"
    assert choose_precision("auto", cpu) in ("32", "bf16")
    assert choose_precision("auto", torch.device("mps")) == "32"
    with autocast(cpu, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(cpu, "32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UserError, match=r"inference.device: cuda:99 is not on this machine"):
        choose_device("cuda:99")
