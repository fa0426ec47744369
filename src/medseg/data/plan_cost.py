"""What a training step of a U-Net costs: an estimate of its memory and its arithmetic.

Level ``l`` has ``V_l`` voxels and ``w_l`` channels. Kept for the backward pass per level are the outputs of
two convolutions and of their norms in the encoder (4 w_l), and in the decoder the same after the upsampled
features and the concatenation (4 w_l + w_l + 2 w_l), the deepest level having no decoder. So

    activations = batch * sum_l V_l * (4 w_l + [l < deepest] 7 w_l) * bytes * OVERHEAD
    logits      = batch * V_0 * classes * 4 bytes * 3          (logits, softmax, gradient)
    weights     = parameters * 16 bytes                        (weight, gradient, two moments)

where bytes is 2 in half precision and 4 else, and OVERHEAD stands for gradients, workspaces and
fragmentation. Arithmetic counts every convolution, times 3 for forward and the two halves of backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.data.plan_topology import PyramidShape

OVERHEAD = 1.6
GB = 1e9


@dataclass(frozen=True)
class Cost:
    """Of one training step: ``memory_gb`` in GB, ``gflop`` in GFLOP."""

    memory_gb: float
    gflop: float


def step_cost(
    shape: PyramidShape, widths: Sequence[int], batch: int, *, channels: int, classes: int, precision: str
) -> Cost:
    """The cost of one step on ``batch`` patches of ``channels`` modalities into ``classes`` logits."""
    voxels = _voxels(shape)
    size = 4 if precision == "32-true" else 2
    kept, multiplications, parameters = 0, 0, 0
    for level, (v, w, kernel) in enumerate(zip(voxels, widths, shape.kernels, strict=True)):
        k = math.prod(kernel)
        above = widths[level - 1] if level else channels
        weights = k * (above * w + w * w)
        kept += 4 * v * w
        if level < len(widths) - 1:
            weights += widths[level + 1] * w + k * (2 * w * w + w * w)
            kept += 7 * v * w
        multiplications += v * weights
        parameters += weights
    multiplications += voxels[0] * widths[0] * classes
    memory = batch * (kept * size * OVERHEAD + voxels[0] * classes * 12) + 16 * parameters
    return Cost(memory / GB, batch * multiplications * 2 * 3 / 1e9)


def _voxels(shape: PyramidShape) -> list[int]:
    size = list(shape.patch_size)
    counts = []
    for stride in shape.strides:
        size = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
        counts.append(math.prod(size))
    return counts
