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
        probabilities: also write ``CASE_probabilities.npz``.
        uncertainty: also write ``CASE_uncertainty`` (the entropy of the mean, in nats),
        ``CASE_disagreement`` (what
            members, flips or dropout passes disagree about) and ``review.csv`` (the doubtful cases first).
        mc_dropout: passes with dropout active, whose probabilities are averaged; 0 for one without.
        mc_seed: of these.
    """

    overlap: float = 0.5
    flips: bool | str = "auto"
    window_batch: int | str = "auto"
    precision: str = "auto"
    device: str = "auto"
    overwrite: bool = False
    object_score: float = 0.5
    probabilities: bool = False
    uncertainty: bool = False
    mc_dropout: int = 0
    mc_seed: int = 0

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
        if self.mc_dropout < 0 or self.mc_dropout == 1:
            lines.append(
                f"mc_dropout: {self.mc_dropout} passes say nothing of a spread; use 0, or 2 and more"
            )
        if self.mc_seed < 0:
            lines.append(f"mc_seed: {self.mc_seed} is negative; use 0 or more")
        return lines
