"""Encoders with weights: the library's own numbers, and every file that is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm import create_model
from timm.models import adapt_input_conv

from medseg.contracts import Labels, Topology
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.files import file_hash
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import Bundle, save_bundle
from medseg.networks.smp_encoder import SMPEncoder, make_body
from medseg.networks.smp_unet import SMPUNet
from medseg.networks.weight_file import state_hash
from medseg.training.finetuning import load_pretrained

TOPOLOGY = Topology(2, (64, 64), ((1, 1), (2, 2)), ((3, 3),) * 2, (4, 8), 32)
TIMM = "tu-mobilenetv3_small_050"
SMALL: dict[str, Any] = {"encoder_name": "resnet18", "decoder_widths": [4, 4, 8, 8, 8]}


def encoder(channels: int, weights: Path | str | None, sha256: str | None = None, **more: Any) -> SMPEncoder:
    options = {"name": "resnet18", "depth": 5} | more
    torch.manual_seed(7)
    return SMPEncoder(options["name"], channels, options["depth"], weights and str(weights), sha256)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet18 for three channels, as the library saves one."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(make_body("resnet18", 3, 5).state_dict(), path)
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_the_first_convolution_is_adapted_as_the_library_does(channels: int, file: Path) -> None:
    ours = encoder(channels, file)
    found = ours.load_pretrained()
    assert found is not None
    assert (found.path, found.sha256) == (str(file), file_hash(file))
    torch.manual_seed(1)
    theirs = make_body("resnet18", 3, 5)
    colour = theirs.state_dict()["conv1.weight"].clone()
    theirs.set_in_channels(channels, pretrained=True)  # type: ignore[operator]
    state = ours.body.state_dict()
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in theirs.state_dict().items())
    torch.testing.assert_close(state["conv1.weight"], adapt_input_conv(channels, colour))


@pytest.mark.parametrize("name", [TIMM, "tu-convnext_atto"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_whole_model_of_timm_gives_its_encoder_the_weights(
    name: str, channels: int, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    whole = create_model(name.removeprefix("tu-"), pretrained=False)
    path = tmp_path / "whole.safetensors"
    save_file(whole.state_dict(), path)
    ours = encoder(channels, path, name=name)
    ours.load_pretrained()
    known = {key.replace(".", "_"): value for key, value in whole.state_dict().items()}
    for key, value in ours.body.state_dict().items():
        given = known[key.removeprefix("model.").replace(".", "_")]
        if given.shape != value.shape:
            given = adapt_input_conv(channels, given)
        torch.testing.assert_close(value, given)
    torch.save({key: value for key, value in whole.state_dict().items() if "blocks.0" not in key}, path)
    part = path.rename(tmp_path / "part.pth")
    with pytest.raises(UserError, match="does not fit the encoder: Missing key"):
        encoder(channels, part, name=name).load_pretrained()


def test_without_a_network_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("resnet18", TIMM):
        with pytest.raises(UserError, match=r"network\.weights: the ImageNet weights.*weights=FILE"):
            encoder(1, "imagenet", name=name).load_pretrained()


def test_an_encoder_that_nobody_trained_is_not_called_unknown() -> None:
    with pytest.raises(UserError, match=r"network\.weights: there are no ImageNet weights of dpn107"):
        encoder(3, "imagenet", name="dpn107").load_pretrained()
    with pytest.raises(UserError, match=r"encoder_name: 'resnet19' is unknown; did you mean resnet1"):
        encoder(3, None, name="resnet19")


def test_weights_of_something_else_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit the encoder.*network\.encoder_name"):
        encoder(3, file, name="resnet34").load_pretrained()
    with pytest.raises(UserError, match="SHA-256"):
        encoder(3, file, "0" * 64).load_pretrained()
    with pytest.raises(UserError, match="is not a file"):
        encoder(3, tmp_path / "none.pth").load_pretrained()
    assert encoder(3, file, file_hash(file)).load_pretrained() is not None


def test_a_hash_without_a_file_is_refused(file: Path) -> None:
    for weights in (None, "imagenet"):
        with pytest.raises(UserError, match=r"network\.weights_sha256: there is no file"):
            SMPUNet(TOPOLOGY, weights=weights, weights_sha256="0" * 64)
    SMPUNet(TOPOLOGY, weights=str(file), weights_sha256="0" * 64)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_nothing_is_unpickled(suffix: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "was_here", tmp_path / f"weights{suffix}"
    for write in (lambda: torch.save({"conv1.weight": Malicious(mark)}, path),
                  lambda: path.write_bytes(pickle.dumps(Malicious(mark)))):  # fmt: skip
        write()
        with pytest.raises(UserError, match="cannot be read as weights"):
            encoder(3, path).load_pretrained()
        assert not mark.exists()


def test_a_bundle_does_not_need_the_file_it_began_with(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "begin.safetensors"
    copy.write_bytes(file.read_bytes())
    plan = Plan(
        2, ("t1", "t2"), (0, 1, 2), (1.0, 1.0, 1.0), (64, 64), 2, TOPOLOGY.strides, TOPOLOGY.kernels,
        TOPOLOGY.widths, {name: {"method": "none"} for name in ("t1", "t2")}, False, "32-true", multiple=32,
    )  # fmt: skip
    spec = {"_target_": "medseg.networks.smp_unet.SMPUNet", **SMALL, "weights": str(copy),
            "weights_sha256": file_hash(copy)}  # fmt: skip
    fusion, labels = {"_target_": "medseg.fusion.early.EarlyFusion"}, Labels(("a",), ((1,),))
    network = assemble_network(spec, fusion, plan, labels)
    (source,) = load_pretrained(network)
    assert source == {"path": str(copy), "sha256": file_hash(file)}
    folder = save_bundle(tmp_path / "model", network, spec, fusion, plan, labels, "toy", {}, patients=set())
    copy.unlink()
    loaded = Bundle.load(folder).network().state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in network.state_dict().items())


def test_a_hash_of_tensors_tells_names_types_and_values_apart() -> None:
    one = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    assert state_hash(one) == state_hash({name: one[name].clone() for name in ("b", "a")})
    others: list[dict[str, torch.Tensor]] = [
        {"a": torch.arange(6.0)}, {"c": one["a"], "b": one["b"]}, one | {"a": one["a"].reshape(2, 3)},
        one | {"a": one["a"].to(torch.bfloat16)}, one | {"b": torch.tensor(4)},
    ]  # fmt: skip
    assert len({state_hash(each) for each in [one, *others]}) == 6
