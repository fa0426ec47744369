"""Intensities on a common scale: one scheme per modality, decided by the plan, plain enough for YAML.

========== ====================================== =====================================================
method     parameters                             what it does
========== ====================================== =====================================================
zscore     lower, upper, nonzero                  clips at the image's own percentiles, then mean 0, std 1
ct         lower, upper, mean, std                clips at fixed values, then the cohort's mean and std
percentile lower, upper, nonzero                  the image's own percentiles to 0 and 1, clipped
histogram  percentiles, landmarks, nonzero        the image's percentiles onto the cohort's (Nyul 2000)
none                                              nothing
========== ====================================== =====================================================

``nonzero`` leaves voxels of value 0 (outside a skull-stripped head) out of the statistics and keeps them 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

PARAMETERS: dict[str, tuple[str, ...]] = {
    "zscore": ("lower", "upper", "nonzero"),
    "ct": ("lower", "upper", "mean", "std"),
    "percentile": ("lower", "upper", "nonzero"),
    "histogram": ("percentiles", "landmarks", "nonzero"),
    "none": (),
}


def normalise(image: Image, scheme: Mapping[str, Any]) -> Image:
    """A normalised copy of one modality ``(W, H, D)``; finite wherever ``image`` is.

    Args:
        image: raw intensities, finite.
        scheme: as in ``plan.normalisation``.
    """
    return METHODS[scheme["method"]](image, scheme)


def _counted(image: Image, scheme: Mapping[str, Any]) -> Image:
    """The voxels that the statistics are taken of; all of them where the image is empty."""
    inside = image[image != 0] if scheme["nonzero"] else image.ravel()
    return inside if inside.size else image.ravel()


def _finish(result: Image, image: Image, scheme: Mapping[str, Any]) -> Image:
    if scheme["nonzero"]:
        result[image == 0] = 0
    return result


def _zscore(image: Image, scheme: Mapping[str, Any]) -> Image:
    counted = _counted(image, scheme)
    lower, upper = np.percentile(counted, [scheme["lower"], scheme["upper"]])
    inside = np.clip(counted, lower, upper)
    mean, std = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
    return _finish(_standardised(np.clip(image, lower, upper), mean, std), image, scheme)


def _ct(image: Image, scheme: Mapping[str, Any]) -> Image:
    clipped = np.clip(image, np.float32(scheme["lower"]), np.float32(scheme["upper"]))
    return _standardised(clipped, scheme["mean"], scheme["std"])


def _standardised(image: Image, mean: float, std: float) -> Image:
    image = image.astype(np.float32, copy=True)
    image -= np.float32(mean)
    # A constant image has no contrast to scale: only its mean is removed.
    image /= np.float32(std if std > 1e-8 * max(1.0, abs(mean)) else 1.0)
    return image


def _percentile(image: Image, scheme: Mapping[str, Any]) -> Image:
    lower, upper = np.percentile(_counted(image, scheme), [scheme["lower"], scheme["upper"]])
    scaled = (image - np.float32(lower)) / np.float32(upper - lower if upper > lower else 1.0)
    return _finish(np.clip(scaled, 0, 1).astype(np.float32), image, scheme)


def _histogram(image: Image, scheme: Mapping[str, Any]) -> Image:
    found = np.percentile(_counted(image, scheme), scheme["percentiles"])
    # Outside the outermost landmarks the scale ends, so that an artefact cannot stretch it.
    mapped = np.interp(image, np.maximum.accumulate(found), scheme["landmarks"]).astype(np.float32)
    return _finish(mapped, image, scheme)


def _none(image: Image, scheme: Mapping[str, Any]) -> Image:
    return image.astype(np.float32, copy=True)


METHODS: dict[str, Callable[[Image, Mapping[str, Any]], Image]] = {
    "zscore": _zscore,
    "ct": _ct,
    "percentile": _percentile,
    "histogram": _histogram,
    "none": _none,
}


def learn_landmarks(curves: NDArray[np.float64], percentiles: Sequence[float]) -> list[float]:
    """The standard scale of a cohort (Nyul, Udupa and Zhang 2000), shifted to mean 0 and std 1.

    Each image's percentiles are brought from their own range to 0..1, then averaged over the images.

    Args:
        curves: ``(cases, percentiles)``, intensities of each image at ``percentiles``.
        percentiles: increasing, 0 to 100.
    """
    span = curves[:, -1:] - curves[:, :1]
    curves = curves[span[:, 0] > 0]
    if len(curves) == 0:
        return [float(p) / 100 for p in percentiles]
    scale = ((curves - curves[:, :1]) / (curves[:, -1:] - curves[:, :1])).mean(axis=0)
    # The distribution that these percentiles describe, sampled evenly in probability.
    sample = np.interp(np.linspace(percentiles[0], percentiles[-1], 1001), percentiles, scale)
    return [round(float(value), 6) for value in (scale - sample.mean()) / sample.std()]


def scheme_problems(scheme: Any) -> list[str]:
    """One line for everything in a scheme that cannot be used."""
    if not isinstance(scheme, Mapping) or scheme.get("method") not in PARAMETERS:
        return [f"{scheme!r} has no known method; use {{method: {' | '.join(PARAMETERS)}, ...}}"]
    method = scheme["method"]
    wanted = {"method", *PARAMETERS[method]}
    if set(scheme) != wanted:
        takes = ", ".join(PARAMETERS[method]) or "nothing"
        return [f"{method} takes {takes}, not {sorted(set(scheme) - {'method'})}"]
    found = []
    if "nonzero" in wanted and not isinstance(scheme["nonzero"], bool):
        found.append(f"nonzero {scheme['nonzero']!r} must be true or false")
    numbers = [key for key in PARAMETERS[method] if key in ("lower", "upper", "mean", "std")]
    found += [f"{key} {scheme[key]!r} must be a number" for key in numbers if not _finite(scheme[key])]
    if not found and "lower" in wanted and not scheme["lower"] < scheme["upper"]:
        found.append(f"lower {scheme['lower']} must be below upper {scheme['upper']}")
    if not found and method in ("zscore", "percentile") and not 0 <= scheme["lower"] < scheme["upper"] <= 100:
        found.append("lower and upper must be percentiles from 0 to 100")
    if not found and method == "ct" and scheme["std"] <= 0:
        found.append(f"std {scheme['std']} must be above 0")
    return found + (_curve_problems(scheme) if method == "histogram" else [])


def _curve_problems(scheme: Mapping[str, Any]) -> list[str]:
    curves = [scheme["percentiles"], scheme["landmarks"]]
    if not all(isinstance(c, list | tuple) and len(c) > 1 and all(map(_finite, c)) for c in curves):
        return ["percentiles and landmarks must be lists of numbers"]
    if len(curves[0]) != len(curves[1]):
        return [f"{len(curves[0])} percentiles and {len(curves[1])} landmarks; give as many of each"]
    rising = all(list(c) == sorted(c) for c in curves) and len(set(curves[0])) == len(curves[0])
    if not rising or not 0 <= curves[0][0] < curves[0][-1] <= 100:
        return ["percentiles must rise from 0 to 100 at most, and landmarks must not fall"]
    return []


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
