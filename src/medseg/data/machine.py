"""What the machine can do, as far as the plan must know."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CPU_GFLOPS = 50.0
"""Training throughput of one core with AVX-512 in float32; a 3D U-Net at 2.6 GHz gives 46 to 56."""
OLD_CPU_GFLOPS = 25.0
"""The same without AVX-512, whose registers are half as wide."""
CPU_BF16_GAIN = 2.5
"""How much faster bfloat16 is on CPUs that multiply it in hardware (measured 2.4 to 3.3)."""


@dataclass(frozen=True)
class Machine:
    """The device that will train.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        name: what to call it in the plan's reasons.
        cores: CPU cores this process may use.
        memory_gb: all memory of the device, in GB (not what is free now, so that a plan is repeatable).
        bf16: whether it multiplies bfloat16 in hardware.
        gflops: estimated training throughput in float32, in GFLOP/s; 0 where time is no constraint.
    """

    device: str
    name: str
    cores: int
    memory_gb: float
    bf16: bool
    gflops: float = 0.0

    @property
    def precision(self) -> str:
        """The fastest precision that trains without harm here."""
        if self.bf16:
            return "bf16-mixed"
        return "16-mixed" if self.device == "cuda" else "32-true"

    def speed(self, precision: str) -> float:
        """Estimated GFLOP/s of training with ``precision``; 0 where it is not known."""
        return self.gflops * (CPU_BF16_GAIN if self.bf16 and precision == "bf16-mixed" else 1.0)


def find_machine() -> Machine:
    """Looks at this machine: its first GPU where there is one, else its CPU."""
    import torch

    cores = usable_cores()
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        bf16 = torch.cuda.get_device_capability(0) >= (8, 0)
        return Machine("cuda", facts.name, cores, round(facts.total_memory / 1e9, 1), bf16)
    flags = _cpu_flags()
    gflops = cores * (CPU_GFLOPS if "avx512f" in flags else OLD_CPU_GFLOPS)
    bf16 = bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    return Machine("cpu", f"CPU, {cores} cores", cores, _memory_gb(), bf16, gflops)


def usable_cores() -> int:
    """The cores that the scheduler and the container's quota leave to this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _first_line(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def _memory_gb() -> float:
    import psutil

    total = float(psutil.virtual_memory().total)
    limit = _first_line(Path("/sys/fs/cgroup/memory.max"))
    return round(min(total, float(limit)) / 1e9 if limit.isdigit() else total / 1e9, 1)


def _cpu_flags() -> set[str]:
    """The instruction sets of the first core, as Linux lists them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return set(line.partition(":")[2].split())


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
