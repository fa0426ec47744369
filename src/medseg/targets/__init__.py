"""Parts: the classes a configuration may name, what they take, and how they are made.

A *spec* is plain data: ``{"_target_": "medseg.networks.unet.UNet", "norm": "instance"}``. A *slot* is
what the part is used for: ``network``, ``fusion``, ``loss``, ``objective``, ``queue`` or ``postprocess``.
A target is admitted when it is a public class written at the top level of a module of the slot's room, or
when its package was admitted by name with `allow`, ``MEDSEG_ALLOW`` or ``--allow``. medseg's own parts are
read from their source, so checking a spec imports nothing.
"""

from medseg.targets.admission import SLOTS, admitted, allow, refusal, targets_of
from medseg.targets.annotations import converted, mismatch
from medseg.targets.checks import build, nearest, problems
from medseg.targets.signature import Parameter, constants, doc_of, parameters

__all__ = [
    "SLOTS",
    "Parameter",
    "admitted",
    "allow",
    "build",
    "constants",
    "converted",
    "doc_of",
    "mismatch",
    "nearest",
    "parameters",
    "problems",
    "refusal",
    "targets_of",
]
