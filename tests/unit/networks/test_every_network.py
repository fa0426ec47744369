"""What every network under conf/network must do; a new one is tested unasked."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load, save

from medseg import targets
from medseg.contracts import Architecture, Decoder, Encoder, InstanceNetwork, Instances, Topology

from .topologies import TOPOLOGIES

SPECS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "conf" / "network").glob("*.yaml"))
}
CONSTANTS = {name: targets.constants(spec["_target_"]) for name, spec in SPECS.items()}
MODELS = {spec["_target_"]: name for name, spec in reversed(SPECS.items())}  # the first file of each
BRIEF = ("2d", "3d")  # what further files of the same network, its presets, are tried on


def fit(name: str, kind: str) -> Topology:
    """The topology with a patch that the network can halve as often as it does by itself.

    Twice that where it does so by itself, since its batch norms need more than one voxel.
    """
    topology, divisor = TOPOLOGIES[kind], CONSTANTS[name].get("DIVISOR")
    steps = [math.lcm(2 * divisor if divisor else 1, step) for step in topology.divisor]
    patch = tuple(-(-n // step) * step for n, step in zip(topology.patch_size, steps, strict=True))
    return replace(topology, patch_size=patch)


CASES = [
    pytest.param(name, fit(name, kind), id=f"{name}-{kind}")
    for name in SPECS
    for kind, topology in TOPOLOGIES.items()
    if topology.spatial_dims in CONSTANTS[name]["DIMS"]
    if name in MODELS.values() or kind in BRIEF
]
HALVES = [name for name in sorted(MODELS.values()) if CONSTANTS[name]["MODULAR"]]
PAIRS = [
    pytest.param(encoding, decoding, fit(encoding, kind), id=f"{encoding}-{decoding}-{kind}")
    for encoding in HALVES
    for decoding in HALVES
    for kind in ("2d", "3d-anisotropic")
    if all(TOPOLOGIES[kind].spatial_dims in CONSTANTS[name]["DIMS"] for name in (encoding, decoding))
]
# What finds objects one by one does as many steps as it finds objects: no trace has them all.
TRACED = [case for case in CASES if not CONSTANTS[str(case.values[0])].get("INSTANCES")]
every_case = pytest.mark.parametrize(("name", "topology"), CASES)
either_way = pytest.mark.parametrize("deep_supervision", [False, True], ids=["plain", "deep"])


def make(name: str, topology: Topology) -> Architecture:
    architecture: Architecture = targets.build(SPECS[name], "network", topology)
    return architecture


def draw(topology: Topology, batch: int = 2, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, channels, *topology.patch_size, generator=generator)


def loss_of(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Of all logits; of what finds objects its own losses, with an object in the first image alone."""
    if not isinstance(network, InstanceNetwork):
        return torch.stack([level.float().square().mean() for level in network(image)]).sum()
    masks = torch.zeros(1, *image.shape[2:], dtype=torch.bool)
    masks[(0, *(slice(2, n // 2) for n in image.shape[2:]))] = True
    ignored, label = torch.zeros_like(masks[0]), torch.tensor([1])
    instances = [Instances(masks[:n], label[:n], ignored) for n in [1, *[0] * (len(image) - 1)]]
    return torch.stack([*network.instance_losses(image, instances).values()]).sum()


@pytest.mark.parametrize("name", SPECS)
def test_file_lists_every_option_with_its_default(name: str) -> None:
    """A file that is named after its network; a preset, named otherwise, has values of its own."""
    stated = {key: value for key, value in SPECS[name].items() if key != "_target_"}
    known = [p for p in targets.parameters(SPECS[name]["_target_"]) if p.keyword_only]
    assert stated.keys() == {p.name for p in known}
    if name == SPECS[name]["_target_"].split(".")[-2]:
        plain = {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in known}
        assert stated == plain
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
    loss_of(network, draw(topology, batch)).backward()
    trained = {key: value.grad for key, value in network.named_parameters() if value.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in trained.values())  # type: ignore[arg-type]


@every_case
def test_trains_in_bfloat16(name: str, topology: Topology) -> None:
    network = make(name, topology).whole(1, 2, True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(network, draw(topology, channels=1))
    loss.backward()
    trained = [value.grad for value in network.parameters() if value.requires_grad]
    assert all(torch.isfinite(gradient).all() for gradient in trained)  # type: ignore[arg-type]


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
    if CONSTANTS[name].get("INSTANCES"):  # which of two objects is the surer, no rounding may decide
        network, image = network.double(), image.double()
    with torch.no_grad():
        alone = network(image[1:2])[0]
        close = 1e-4 * max(1.0, float(alone.abs().max()))
        torch.testing.assert_close(network(image)[0][1:2], alone, rtol=1e-4, atol=close)


@pytest.mark.parametrize(("name", "topology"), TRACED)
def test_a_trace_gives_the_same_logits(name: str, topology: Topology) -> None:
    network = make(name, topology).whole(2, 3, True).double().eval()
    image = draw(topology, batch=1).double()
    with torch.no_grad():
        traced = torch.jit.trace(network, image, check_trace=False)
        torch.testing.assert_close(traced(image), network(image), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted({str(case.values[0]) for case in TRACED} & {*MODELS.values()}))
def test_exports(name: str) -> None:
    topology = fit(name, "3d" if 3 in CONSTANTS[name]["DIMS"] else "2d")
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


@every_case
def test_the_encoder_names_its_stages(name: str, topology: Topology) -> None:
    """What fine-tuning freezes and frees: every parameter that trains is in one stage, the image's first."""
    if not CONSTANTS[name]["MODULAR"]:
        pytest.skip("has no encoder of its own")
    encoder: Any = make(name, topology).encoder(1)
    stages = getattr(encoder, "parameter_stages", None)
    if stages is None:
        assert isinstance(encoder.stages, torch.nn.ModuleList)
        stages = [list(stage.parameters()) for stage in encoder.stages]
    inside = [parameter for stage in stages for parameter in stage]
    assert len(inside) == len(set(inside))
    assert {*inside} == {p for p in encoder.parameters() if p.requires_grad}
    assert all(stages)


@pytest.mark.parametrize(("encoding", "decoding", "topology"), PAIRS)
def test_every_decoder_reads_every_encoder(encoding: str, decoding: str, topology: Topology) -> None:
    encoder = make(encoding, topology).encoder(1)
    decoder = make(decoding, topology).decoder(encoder.pyramid, 2, True)  # type: ignore[arg-type]
    assert isinstance(decoder, Decoder)
    with torch.no_grad():
        logits = decoder(encoder(draw(topology, channels=1)))
    assert logits[0].shape == (2, 2, *topology.patch_size)
