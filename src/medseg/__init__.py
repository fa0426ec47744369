"""medseg: medical image segmentation research, from raw scans to a deployed model."""

__version__ = "0.1.0"
