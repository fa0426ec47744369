"""Weights in a file that a user hands us: read without unpickling objects, checked against a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medseg.errors import UserError
from medseg.files import file_hash

IMAGENET = "imagenet"
"""What stands for the weights that an encoder's library publishes."""


@dataclass(frozen=True)
class WeightFile:
    """Where weights came from: the file and its SHA-256, or ``imagenet`` and that of the tensors."""

    path: str
    sha256: str


def read_weights(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], WeightFile]:
    """Name -> tensor of a ``.safetensors``, ``.pth`` or ``.pt`` file.

    A ``.pth`` is read with ``weights_only``, so that nothing but tensors can come out of it.

    Raises:
        UserError: no such file, another SHA-256, or not a dictionary of tensors.
    """
    if not path.is_file():
        raise UserError(str(path), "is not a file", "give network.weights a .safetensors or .pth file")
    found = file_hash(path)
    if sha256 is not None and found != sha256.lower():
        problem = f"its SHA-256 is {found} where {sha256} is expected"
        raise UserError(str(path), problem, "fetch it again, or correct network.weights_sha256")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes the readers raise
        problem = f"cannot be read as weights ({type(error).__name__})"
        fix = "save a state dict of tensors, best as .safetensors"
        raise UserError(str(path), problem, fix) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(str(path), "is no state dict", "save name -> tensor, best as .safetensors")
    return dict(state), WeightFile(str(path), found)


def refuse_hash_alone(weights: str | None, sha256: str | None) -> None:
    """A checksum that nothing is held against would be an option that does nothing.

    Raises:
        UserError: ``sha256`` is given and ``weights`` is no file.
    """
    if sha256 is not None and weights in (None, IMAGENET):
        problem = f"there is no file to check, network.weights is {weights or 'null'}"
        raise UserError("network.weights_sha256", problem, "give network.weights=FILE, or leave it null")


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes, whatever the order."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
