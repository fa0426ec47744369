"""Weights for a detector: of its encoder alone, or of a whole Mask R-CNN as torchvision saves one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from medseg.errors import UserError
from medseg.networks.smp_encoder import SMPEncoder
from medseg.networks.weight_file import IMAGENET, WeightFile, read_weights

_BODY = "backbone.body."
_OF_CLASSES = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")


def load_detector(
    detector: nn.Module, encoder: SMPEncoder, weights: str | None, sha256: str | None
) -> WeightFile | None:
    """Loads ``weights`` into the encoder and, where the file has them, into what comes after it.

    The layers that depend on the number of classes are left as they are.

    Args:
        detector: with torchvision's names, the encoder's body within ``backbone.body``.
        encoder: of the detector.
        weights: ``None``, ``imagenet`` or a file.
        sha256: what the file's SHA-256 must be.

    Returns:
        What was loaded; ``None`` where no weights were asked for.

    Raises:
        UserError: no network, no file, another checksum, weights of something else.
    """
    if weights is None:
        return None
    if weights == IMAGENET:
        fresh = SMPEncoder(encoder.name, encoder.in_channels, encoder.depth, weights, sha256)
        published = fresh.load_pretrained()
        encoder.body.load_state_dict(fresh.body.state_dict())
        return published
    state, found = read_weights(Path(weights), sha256)
    of_encoder = {name.removeprefix(_BODY): value for name, value in state.items() if name.startswith(_BODY)}
    encoder.fit(of_encoder or state, found.path)
    if of_encoder:
        _fit_rest(detector, state, found.path)
    return found


def _fit_rest(detector: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    rest = {name: value for name, value in state.items() if not name.startswith((_BODY, *_OF_CLASSES))}
    try:
        result = detector.load_state_dict(rest, strict=False)
    except RuntimeError as error:
        raise _misfit(path, str(error).splitlines()[1:]) from None
    missing = [name for name in result.missing_keys if not name.startswith((_BODY, *_OF_CLASSES))]
    if missing or result.unexpected_keys:
        found = [f"it lacks {name}" for name in missing]
        raise _misfit(path, found + [f"it has {name}" for name in result.unexpected_keys])


def _misfit(path: str, lines: Sequence[str]) -> UserError:
    problem = f"does not fit the network: {'; '.join(' '.join(line.split())[:160] for line in lines[:3])}"
    fix = "give the file that belongs to network.encoder_name, and network.width=256 for torchvision's"
    return UserError(path, problem, fix)
