"""The weights of a bundle: safetensors, checked key by key before a network is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medseg.errors import UserError

Shapes = dict[str, tuple[int, ...]]
State = Mapping[str, Tensor]


def expected_shapes(assemble: Callable[[], nn.Module]) -> Shapes:
    """Names and shapes of the state of the network that ``assemble`` makes, without allocating it."""
    try:
        with torch.device("meta"):
            network = assemble()
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        # A part that reads values while it is built cannot be made without memory.
        network = fresh(assemble)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def fresh(assemble: Callable[[], nn.Module]) -> nn.Module:
    """The network on the CPU, leaving torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        return assemble()


def write_weights(path: Path, state: State, shapes: Shapes) -> None:
    """Writes the part of ``state`` that ``shapes`` names.

    What training alone needs, such as the heads of deep supervision, is left out.

    Raises:
        UserError: ``state`` lacks something, or its shape is another.
    """
    stored = {name: tuple(state[name].shape) for name in shapes if name in state}
    _compare(path, stored, shapes)
    # Tied weights share memory, which safetensors refuses; each name gets its own copy.
    save_file({name: state[name].detach().cpu().contiguous().clone() for name in shapes}, path)


def check_weights(path: Path, shapes: Shapes) -> None:
    """Compares the header of a weights file with what a network expects.

    Raises:
        UserError: not a safetensors file; missing or unexpected names; other shapes. All are listed.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            # keys() is safetensors' own; the object is not a mapping.
            found = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise UserError(str(path), f"is not a readable safetensors file ({error})", "copy it again") from None
    _compare(path, found, shapes)


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a checked weights file into ``network``, every name."""
    network.load_state_dict(load_file(path), strict=True)


def _compare(path: Path, found: Shapes, expected: Shapes) -> None:
    lines = []
    if missing := sorted(expected.keys() - found.keys()):
        lines.append(f"missing {', '.join(missing)}")
    if unexpected := sorted(found.keys() - expected.keys()):
        lines.append(f"unexpected {', '.join(unexpected)}")
    lines += [
        f"{name} is {list(found[name])} where the network has {list(expected[name])}"
        for name in sorted(found.keys() & expected.keys())
        if found[name] != expected[name]
    ]
    if lines:
        raise UserError(
            str(path), "does not fit the network: " + "; ".join(lines), "use the matching model.json"
        )
