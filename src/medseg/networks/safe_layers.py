"""Another library's network with this project's layers, where PyTorch's own go wrong on a CPU."""

from __future__ import annotations

from torch import nn

from medseg.networks.convolution import Conv2d, Conv3d
from medseg.networks.instance_norm import InstanceNorm
from medseg.networks.transposed_convolution import ConvTranspose2d, ConvTranspose3d

_SAFE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}


def use_safe_layers(network: nn.Module) -> None:
    """Exchanges convolutions and instance norms in place; names, weights and outputs stay.

    Convolutions get the guard against bfloat16's wrong gradients (see `convolution.miscomputed`).
    Instance norms with a learned scale become `InstanceNorm`, which neither copies channels-last features
    nor refuses a single voxel. Subclasses are left alone: what they do is their own.
    """
    exchanged: dict[nn.Module, InstanceNorm] = {}
    for module in list(network.modules()):
        if type(module) in _SAFE:
            # The class alone is exchanged: hooks, tied weights and optimizers that know the module stay.
            module.__class__ = _SAFE[type(module)]
        for name, child in [*module._modules.items()]:  # a module in two places has both names here
            if isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d) and _plain(child):
                setattr(module, name, exchanged.setdefault(child, _exchanged(child)))


def _plain(norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> bool:
    own = type(norm) in (nn.InstanceNorm2d, nn.InstanceNorm3d)
    return own and norm.affine and not norm.track_running_stats


def _exchanged(norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> InstanceNorm:
    safe = InstanceNorm(norm.num_features, eps=norm.eps)
    safe.weight, safe.bias = norm.weight, norm.bias
    return safe.train(norm.training)
