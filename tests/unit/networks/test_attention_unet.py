from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medseg.contracts import Pyramid, Topology
from medseg.errors import UserError
from medseg.networks.attention_decoder import AttentionDecoder
from medseg.networks.attention_gate import GridGate, VoxelGate
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.layers import Layers

from .topologies import TOPOLOGIES


def decoder(topology: Topology, **options: object) -> AttentionDecoder:
    made = AttentionUNet(topology, **options).whole(2, 3, True).decoder  # type: ignore[arg-type]
    assert isinstance(made, AttentionDecoder)
    return made


@pytest.mark.parametrize("step", [(2, 2, 2), (2, 2, 1), (3, 1, 2)], ids=str)
def test_the_coarse_gate_is_the_papers_formula(step: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    gate = GridGate(Layers(3), 6, 5, step)
    skip = torch.randn(2, 6, *(4 * s for s in step), generator=generator)
    below = torch.randn(2, 5, 4, 4, 4, generator=generator)
    w = dict(gate.named_parameters())
    theta = functional.conv3d(skip, w["of_skip.weight"], stride=step)
    phi = functional.conv3d(below, w["of_signal.weight"], w["of_signal.bias"])
    score = functional.conv3d(torch.relu(theta + phi), w["score.weight"], w["score.bias"])
    attention = functional.interpolate(torch.sigmoid(score), skip.shape[2:], mode="trilinear")
    torch.testing.assert_close(gate(skip, below, skip), skip * attention)


@pytest.mark.parametrize("gating", ["coarse", "fine"])
def test_fresh_gates_are_open(gating: str) -> None:
    """The paper: at the start, gates let features pass at all locations."""
    topology = TOPOLOGIES["3d"]
    for gate in decoder(topology, gating=gating, gate_finest=True).gates:
        channels = gate.of_skip[0].in_channels if gating == "fine" else gate.of_skip.in_channels
        signal = gate.of_signal[0].in_channels if gating == "fine" else gate.of_signal.in_channels
        skip = torch.randn(2, channels, 8, 8, 8, generator=torch.Generator().manual_seed(1))
        low = torch.randn(2, signal, 4, 4, 4, generator=torch.Generator().manual_seed(2))
        same = torch.randn(2, signal, 8, 8, 8, generator=torch.Generator().manual_seed(2))
        passed = (gate(skip, low, same) / skip).detach()
        assert 0.6 < float(passed.mean()) < 1


@pytest.mark.parametrize(("name", "gates"), [("2d", 1), ("3d-anisotropic", 2), ("two-levels", 1)])
def test_the_finest_skip_passes_ungated_unless_it_is_the_only_one(name: str, gates: int) -> None:
    topology = TOPOLOGIES[name]
    assert len(decoder(topology).gates) == gates
    assert len(decoder(topology, gate_finest=True).gates) == len(topology.widths) - 1
    kinds = {type(gate) for gate in decoder(topology, gating="fine").gates}
    assert kinds == {VoxelGate}


def test_a_closed_gate_hides_the_skip() -> None:
    topology = TOPOLOGIES["2d"]
    network = AttentionUNet(topology, gate_finest=True).decoder(
        Pyramid(2, (4, 6), ((1, 1), (2, 2))), 2, False
    )
    assert isinstance(network, AttentionDecoder)
    deep = torch.randn(1, 6, 4, 4)
    one, other = (torch.randn(1, 4, 8, 8) for _ in range(2))
    assert not torch.allclose(network([one, deep])[0], network([other, deep])[0])
    for gate in network.gates:
        torch.nn.init.constant_(gate.score.bias, -1e4)
    torch.testing.assert_close(network([one, deep])[0], network([other, deep])[0])


@pytest.mark.parametrize(
    "options", [{"gating": "none"}, {"downsampling": "average"}, {"decoder_convs": 0}, {"upsampling": "no"}]
)
def test_senseless_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        AttentionUNet(TOPOLOGIES["2d"], **options).whole(1, 2, False)  # type: ignore[arg-type]
