"""The choices of a prediction (``conf/inference/``)."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("auto", "32", "bf16", "16")


@dataclass(frozen=True)
class InferenceSettings:
    """How networks are applied to whole volumes.

    Attributes:
        overlap: share of a window that its neighbour covers again, in ``[0, 1)``.
        flips: average over mirrored copies. ``"auto"``: the axes that training mirrored, as the bundle
            records; ``True``: every axis; ``False``: none. ``n`` axes cost ``2^n`` times the time.
        window_batch: windows per forward pass; ``"auto"``: as many as hold about a training batch.
        precision: ``"auto"`` is bf16 where the hardware computes it natively, else 16 on other CUDA
            devices and 32 elsewhere.
        device: ``"auto"``, ``"cpu"``, ``"mps"``, ``"cuda"`` or ``"cuda:N"``.
        overwrite: predict again where a prediction exists already.
        object_score: how sure an object must be to be listed, for networks that find objects one by one.
    """

    overlap: float = 0.5
    flips: bool | str = "auto"
    window_batch: int | str = "auto"
    precision: str = "auto"
    device: str = "auto"
    overwrite: bool = False
    object_score: float = 0.5

    def problems(self) -> list[str]:
        """One line per value that cannot be used."""
        lines = []
        if not 0 <= self.overlap < 1:
            lines.append(f"overlap: {self.overlap} is outside [0, 1); 0.5 is usual")
        if not 0 <= self.object_score <= 1:
            lines.append(f"object_score: {self.object_score} is outside [0, 1]; 0.5 is what the map shows")
        if not isinstance(self.flips, bool) and self.flips != "auto":
            lines.append(f"flips: {self.flips!r} is not known; use auto, true or false")
        automatic = self.window_batch == "auto"
        if not automatic and (isinstance(self.window_batch, str | bool) or self.window_batch < 1):
            lines.append(f"window_batch: {self.window_batch!r} is not a count; use auto or 1 and more")
        if self.precision not in PRECISIONS:
            lines.append(f"precision: {self.precision!r} is not known; use one of {', '.join(PRECISIONS)}")
        kind, _, number = self.device.partition(":")
        if kind not in ("auto", "cpu", "mps", "cuda") or (":" in self.device and not number.isdecimal()):
            lines.append(f"device: {self.device!r} is not known; use auto, cpu, mps, cuda or cuda:N")
        return lines
