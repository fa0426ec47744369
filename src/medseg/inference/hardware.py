"""Where a network runs and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from medseg.errors import UserError

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


def choose_device(asked: str) -> torch.device:
    """The device to run on.

    Args:
        asked: ``"auto"`` (CUDA, else MPS, else CPU) or a device's name.

    Raises:
        UserError: the device is not there.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(asked)
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not there.get(device.type, False):
        raise UserError("inference.device", f"{asked} is not on this machine", "use auto or cpu")
    return device


def choose_precision(asked: str, device: torch.device) -> str:
    """``"32"``, ``"bf16"`` or ``"16"``; bf16 only where the hardware computes it natively."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bf16" if native else "16"
    if device.type == "cpu" and _cpu_has_bf16():
        return "bf16"
    return "32"


def _cpu_has_bf16() -> bool:
    # Without these instructions bf16 is emulated and slower than 32 bits.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a network computes in ``precision``."""
    if precision == "32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])
