"""The starting weights of convolutions."""

from __future__ import annotations

from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def initialise_he(network: nn.Module) -> None:
    """Normal weights scaled by the inputs (He 2015) for a leaky ReLU of slope 0.01, biases zero.

    Draws from torch's default generator, so the caller's seed decides.
    """
    for module in network.modules():
        if isinstance(module, _CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
