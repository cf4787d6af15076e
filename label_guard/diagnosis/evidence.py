"""How well a reading explains counts: log probabilities of counts of classes and of noise.

Classes: Dirichlet-multinomial likelihood with one symmetric concentration, averaged over a grid from very uneven to
equal frequencies (Minka, Estimating a Dirichlet distribution, 2000). Noise: a binomial share, averaged over a
logarithmic grid, times how likely each value is as noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CONCENTRATIONS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_RATES = tuple(float(rate) for rate in np.geomspace(1e-8, 0.7, 40))
# Share of noise by its form: a slip by one, a well-known number, a value near the classes, anything.
_SLIP, _KNOWN, _NEAR, _ANYTHING = 0.4, 0.15, 0.2, 0.25
_LIKELY_KNOWN = {255: 0.3, -1: 0.3, -100: 0.1, 0: 0.1}


def log_classes(counts: NDArray[Any], categories: int) -> float:
    """Log probability of a sequence with ``counts`` (positive) in ``categories``, most of which may be unused."""
    sizes, times = np.unique(counts, return_counts=True)
    total = float(counts.sum())
    terms: list[float] = []
    for concentration in _CONCENTRATIONS:
        whole = concentration * categories
        each = sum(
            n * (math.lgamma(concentration + size) - math.lgamma(concentration))
            for size, n in zip(sizes.tolist(), times.tolist(), strict=True)
        )
        terms.append(math.lgamma(whole) - math.lgamma(whole + total) + each)
    return log_mean(terms)


def log_noise(noise: Mapping[int, int], far: int, total: int, low: int, high: int) -> float:
    """Log probability that ``noise`` (positions by value) and ``far`` other positions of ``total`` are noise.

    Args:
        noise: positions by value, all outside the classes.
        far: positions of values that are not listed; far from the classes.
        total: all positions, those of classes and void values included.
        low: smallest class id.
        high: greatest class id.
    """
    count = sum(noise.values()) + far
    share = log_mean([count * math.log(rate) + (total - count) * math.log1p(-rate) for rate in _RATES])
    values = sum(n * math.log(_noise_probability(value, low, high)) for value, n in noise.items())
    if all(0 <= value <= 255 for value in noise):  # bytes that were overwritten are even over all of a byte
        values = log_mean([values, -count * math.log(256)])
    return share + values - 25.0 * far


def _noise_probability(value: int, low: int, high: int) -> float:
    """Probability, in (0, 1), of ``value`` among noise values next to classes from ``low`` to ``high``."""
    probability = _ANYTHING / (90.0 * (abs(value) + 1.0))  # even in the logarithm over 64 bits, both signs
    if value in (low - 1, high + 1):
        probability += _SLIP / 2
    width = max(high - low + 1, 4)
    if low - width <= value <= high + width:
        probability += _NEAR / (2 * width)
    return probability + _KNOWN * _LIKELY_KNOWN.get(value, 0.0)


def log_mean(terms: Sequence[float]) -> float:
    """The logarithm of the mean of exponentials."""
    return float(np.logaddexp.reduce(terms)) - math.log(len(terms))
