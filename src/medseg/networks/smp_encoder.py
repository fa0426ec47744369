"""An encoder of segmentation-models-pytorch behind the encoder contract."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.networks.memory_layout import in_fast_layout
from medseg.networks.weight_file import IMAGENET, WeightFile, read_weights, state_hash

_RGB = 3


class SMPEncoder(nn.Module):
    """``(B, C, W, H)`` -> features at 1/2, 1/4, ... of the image's size.

    Args:
        name: of segmentation-models-pytorch, or ``tu-`` and a name of timm.
        in_channels: ``C``, any number.
        depth: how often the image is halved.
        weights: what `load_pretrained` loads: ``None``, ``imagenet`` or a file.
        weights_sha256: what the file's SHA-256 must be.

    Attributes:
        pyramid: the levels, finest first; the image itself is none of them.
        parameter_stages: per level the parameters that it needs beyond those of the levels before.

    Raises:
        UserError: the library does not know the encoder, or not as one that halves the image step by step.
    """

    def __init__(
        self, name: str, in_channels: int, depth: int, weights: str | None, weights_sha256: str | None
    ) -> None:
        super().__init__()
        self.name, self.in_channels, self.depth = name, in_channels, depth
        self.weights, self.weights_sha256 = weights, weights_sha256
        self.body = make_body(name, in_channels, depth)
        self.kept, self.pyramid, self.parameter_stages = self._look()

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, C, W, H)`` with W and H multiples of ``2 ** depth`` -> features, finest first."""
        features = self.body(in_fast_layout(image))
        return [features[k] for k in self.kept]

    def load_pretrained(self) -> WeightFile | None:
        """Loads the weights asked for; the first convolution is summed or repeated to fit ``C`` channels.

        Returns:
            What was loaded, for the record; ``None`` where no weights were asked for.

        Raises:
            UserError: no network, no file, another checksum, weights of another encoder.
        """
        if self.weights is None:
            return None
        if self.weights == IMAGENET:
            state = _published(self.name, self.depth).state_dict()
            found = WeightFile(IMAGENET, state_hash(state))
        else:
            state, found = read_weights(Path(self.weights), self.weights_sha256)
        self.fit(state, found.path)
        return found

    def fit(self, state: Mapping[str, Tensor], path: str) -> None:
        """Takes the weights ``state`` of this encoder for three channels.

        Raises:
            UserError: ``path``, where they are from, has those of another one.
        """
        colour = make_body(self.name, _RGB, self.depth)
        _load(colour, state, path)
        _set_channels(colour, self.in_channels)
        self.body.load_state_dict(colour.state_dict())

    def _look(self) -> tuple[list[int], Pyramid, list[list[nn.Parameter]]]:
        """What comes out of a small image, and which parameters each level needs.

        Some encoders skip a level (they give it without channels) and some keep layers that nothing uses;
        those must not be trained, or parallel training waits for their gradients.
        """
        side = 2 ** (self.depth + 1)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            body = self.body.eval()
            image = torch.zeros(1, self.in_channels, side, side)
            features = body(image)  # most give the image itself as the first
            levels = [k for k, f in enumerate(features) if f.shape[1] and f.requires_grad]
            stages = _stages([features[k].sum() for k in levels], list(body.parameters()))
            body.train()
        for parameter in set(body.parameters()) - {p for stage in stages for p in stage}:
            parameter.requires_grad_(False)
        steps = [side // features[k].shape[-1] for k in levels]
        channels = tuple(features[k].shape[1] for k in levels)
        return levels, Pyramid(2, channels, tuple((s, s) for s in steps)), stages


def _stages(outputs: list[Tensor], parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    known: set[nn.Parameter] = set()
    stages = []
    for output in outputs:
        gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        reached = [p for p, g in zip(parameters, gradients, strict=True) if g is not None]
        stages.append([p for p in reached if p not in known])
        known.update(reached)
    return stages


def make_body(name: str, in_channels: int, depth: int) -> nn.Module:
    """The library's encoder with random weights.

    Raises:
        UserError: it does not know the name.
    """
    from segmentation_models_pytorch.encoders import get_encoder_names

    try:
        return _make(name, in_channels, depth, None)
    except KeyError:
        near = difflib.get_close_matches(name, get_encoder_names(), n=3) or ["resnet50"]
        fix = f"did you mean {', '.join(near)}? tu-NAME takes any of timm's"
        raise UserError("network.encoder_name", f"{name!r} is unknown", fix) from None
    except (RuntimeError, ValueError) as error:
        problem = f"{name!r} cannot be an encoder here: {str(error).splitlines()[0]}"
        raise UserError("network.encoder_name", problem, "choose another, such as resnet50") from None


def _make(name: str, in_channels: int, depth: int, weights: Any) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        body: nn.Module = get_encoder(name, in_channels=in_channels, depth=depth, weights=weights)
    # the library makes the first convolution anew on the CPU, whatever the default device is
    return body.to(torch.get_default_device())


def _published(name: str, depth: int) -> nn.Module:
    """The encoder with the weights that its library publishes; needs the network once."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import logging as hub_log

    loudness = hub_log.get_verbosity()
    hub_log.set_verbosity(logging.ERROR)  # it would print every try
    try:
        return _make(name, _RGB, depth, True if name.startswith("tu-") else IMAGENET)
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        problem = f"the ImageNet weights of {name} cannot be fetched ({type(error).__name__})"
        fix = "fetch them where there is a network and give network.weights=FILE network.weights_sha256=HASH"
        raise UserError("network.weights", problem, f"{fix}, or network.weights=null") from None
    except (KeyError, RuntimeError, ValueError):  # the name itself is known: the body has been built
        problem = f"there are no ImageNet weights of {name}"
        raise UserError(
            "network.weights", problem, "give network.weights=FILE, or network.weights=null"
        ) from None
    finally:
        hub_log.set_verbosity(loudness)


def _set_channels(body: nn.Module, channels: int) -> None:
    """Sums or repeats the first convolution's weights, as the library does; timm's bodies lack the method."""
    from segmentation_models_pytorch.encoders._utils import patch_first_conv

    if hasattr(body, "set_in_channels"):
        body.set_in_channels(channels, pretrained=True)  # type: ignore[operator]
    elif channels != _RGB:
        patch_first_conv(body, channels, _RGB, pretrained=True)


def _of_body(body: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a whole model of timm what its body for features has, by the body's names; else ``state``."""
    from segmentation_models_pytorch.encoders.timm_universal import TimmUniversalEncoder

    if not isinstance(body, TimmUniversalEncoder):
        return dict(state)
    known = {_flat(name): name for name in body.state_dict()}
    return {known[_flat(name)]: value for name, value in state.items() if _flat(name) in known}


def _flat(name: str) -> str:
    """timm's bodies have ``model.stages_0.weight`` for the whole model's ``stages.0.weight``."""
    while name.startswith("model."):
        name = name.removeprefix("model.")
    return name.replace(".", "_")


def _load(body: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    try:
        body.load_state_dict(_of_body(body, state))
    except RuntimeError as error:
        lines = [" ".join(line.split()) for line in str(error).splitlines()[1:4]]
        problem = f"does not fit the encoder: {'; '.join(line[:160] for line in lines)}"
        fix = "give the file that belongs to network.encoder_name"
        raise UserError(path, problem, fix) from None
