"""What every network under conf/network must do; a new one is tested unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load, save

from medseg import targets
from medseg.contracts import Architecture, Decoder, Encoder, Topology

from .topologies import TOPOLOGIES

SPECS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "conf" / "network").glob("*.yaml"))
}
CONSTANTS = {name: targets.constants(spec["_target_"]) for name, spec in SPECS.items()}
CASES = [
    pytest.param(name, topology, id=f"{name}-{kind}")
    for name in SPECS
    for kind, topology in TOPOLOGIES.items()
    if topology.spatial_dims in CONSTANTS[name]["DIMS"]
]
every_case = pytest.mark.parametrize(("name", "topology"), CASES)
either_way = pytest.mark.parametrize("deep_supervision", [False, True], ids=["plain", "deep"])


def make(name: str, topology: Topology) -> Architecture:
    architecture: Architecture = targets.build(SPECS[name], "network", topology)
    return architecture


def draw(topology: Topology, batch: int = 2, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, channels, *topology.patch_size, generator=generator)


@pytest.mark.parametrize("name", SPECS)
def test_file_lists_every_option_with_its_default(name: str) -> None:
    stated = {key: value for key, value in SPECS[name].items() if key != "_target_"}
    known = targets.parameters(SPECS[name]["_target_"])
    assert stated == {p.name: p.default for p in known if p.keyword_only}
    assert isinstance(CONSTANTS[name]["MODULAR"], bool)


@every_case
@either_way
def test_logits_have_the_size_of_the_image(name: str, topology: Topology, deep_supervision: bool) -> None:
    network = make(name, topology).whole(2, 3, deep_supervision)
    image = draw(topology)
    logits = network(image)
    assert isinstance(logits, tuple)
    assert logits[0].shape == (2, 3, *topology.patch_size)
    assert all(level.shape[:2] == (2, 3) for level in logits)
    if not deep_supervision:
        assert len(logits) == 1
    with torch.no_grad():
        assert [level.shape for level in network.eval()(image)] == [logits[0].shape]


@every_case
@either_way
@pytest.mark.parametrize("batch", [1, 2])
def test_a_step_reaches_every_parameter(
    name: str, topology: Topology, deep_supervision: bool, batch: int
) -> None:
    network = make(name, topology).whole(2, 3, deep_supervision)
    loss = torch.stack([level.square().mean() for level in network(draw(topology, batch))]).sum()
    loss.backward()
    missed = [key for key, value in network.named_parameters() if value.grad is None]
    assert missed == []
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())  # type: ignore[arg-type]


@every_case
def test_trains_in_bfloat16(name: str, topology: Topology) -> None:
    network = make(name, topology).whole(1, 2, True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(draw(topology, channels=1))
    torch.stack([level.float().square().mean() for level in logits]).sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())  # type: ignore[arg-type]


@every_case
def test_weights_survive_safetensors(name: str, topology: Topology) -> None:
    architecture = make(name, topology)
    one, other = architecture.whole(2, 3, True).eval(), architecture.whole(2, 3, True).eval()
    other.load_state_dict(load(save(one.state_dict())))
    image = draw(topology)
    with torch.no_grad():
        torch.testing.assert_close(one(image), other(image), rtol=0, atol=0)


@every_case
def test_the_seed_alone_decides_the_weights(name: str, topology: Topology) -> None:
    def weights() -> list[torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(11)
            return list(make(name, topology).whole(2, 3, True).state_dict().values())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


@every_case
def test_samples_do_not_mix_in_evaluation(name: str, topology: Topology) -> None:
    network = make(name, topology).whole(2, 3, False).eval()
    image = draw(topology, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(network(image)[0][1:2], network(image[1:2])[0], rtol=1e-4, atol=1e-4)


@every_case
def test_a_trace_gives_the_same_logits(name: str, topology: Topology) -> None:
    network = make(name, topology).whole(2, 3, True).eval()
    image = draw(topology, batch=1)
    with torch.no_grad():
        traced = torch.jit.trace(network, image, check_trace=False)
        torch.testing.assert_close(traced(image), network(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_exports(name: str) -> None:
    topology = TOPOLOGIES["3d"]
    network = make(name, topology).whole(2, 3, True).eval()
    image = draw(topology, batch=1)
    with torch.no_grad():
        exported = torch.export.export(network, (image,)).module()
        torch.testing.assert_close(exported(image), network(image), rtol=1e-4, atol=1e-4)


@every_case
def test_the_encoder_gives_what_its_pyramid_says(name: str, topology: Topology) -> None:
    if not CONSTANTS[name]["MODULAR"]:
        pytest.skip("has no encoder of its own")
    encoder = make(name, topology).encoder(2)
    assert isinstance(encoder, Encoder)
    features = encoder(draw(topology))
    assert encoder.pyramid.spatial_dims == topology.spatial_dims
    for level, channels, stride in zip(
        features, encoder.pyramid.channels, encoder.pyramid.strides, strict=True
    ):
        size = tuple(n // s for n, s in zip(topology.patch_size, stride, strict=True))
        assert level.shape == (2, channels, *size)


@pytest.mark.parametrize("decoding", SPECS)
@every_case
def test_every_decoder_reads_every_encoder(name: str, topology: Topology, decoding: str) -> None:
    if not (CONSTANTS[name]["MODULAR"] and CONSTANTS[decoding]["MODULAR"]):
        pytest.skip("cannot be split")
    if topology.spatial_dims not in CONSTANTS[decoding]["DIMS"]:
        pytest.skip(f"{decoding} has no {topology.spatial_dims}D")
    encoder = make(name, topology).encoder(1)
    decoder = make(decoding, topology).decoder(encoder.pyramid, 2, True)  # type: ignore[arg-type]
    assert isinstance(decoder, Decoder)
    logits = decoder(encoder(draw(topology, channels=1)))
    assert logits[0].shape == (2, 2, *topology.patch_size)
