"""Histograms of columns and scores: training keeps them in the manifest, for serving to compare.

A number falls into a bin between quantiles of the training data; values beyond its range have bins
of their own, and so have missing ones. A category has a bin of its own if it is one of the most
frequent; the others share one, and so do missing cells and values that are no category.

The distance between two histograms is the population stability index (PSI): the sum over all bins
of (p - q) ln(p / q), with the shares p of training and q of requests. By the usual rule, of credit
scoring, less than 0.1 means nothing, and more than 0.2 that the data has changed. With k bins, and
m and n rows of one distribution, its mean is (k - 1) (1/m + 1/n), and it varies as a chi-squared
variable does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = 10
CATEGORIES = 10  # with a bin of their own
BINS = 13  # of a histogram at most: of numbers 10, one below, one above, one missing
NOT_COUNTED = 255  # in the place of a bin
HALF = 0.5  # a row, added to each bin: no share is 0
MARGIN, RELATIVE_MARGIN = 2e-6, 2e-5  # of a bound to values: twice what engines differ by
MOST_SKIPPED = 8  # different values, besides one in a hundred, to find that much room

Floats = NDArray[np.float32]
Bins = NDArray[np.uint8]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """The rows of a column by bin.

    Of numbers, bin i holds what is above bounds[i - 1] and at most bounds[i]; after the last one
    comes the bin of missing values. Of categories, bounds are the codes that have a bin, followed
    by the bins of other codes, of missing values, and of values that are no category.
    """

    name: str
    position: int  # among the columns of the data, or the outputs, from 0
    is_categorical: bool
    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def missing(self) -> int:
        """The bin of missing values."""
        return len(self.bounds) + 1

    @property
    def unseen(self) -> int:
        """The bin of values that are no category."""
        return len(self.bounds) + 2

    def document(self) -> dict[str, Any]:
        """Return the JSON object that a manifest keeps."""
        kind = "categories" if self.is_categorical else "bounds"
        return {
            "name": self.name,
            "position": self.position,
            kind: list(self.bounds),
            "counts": list(self.counts),
        }

    @classmethod
    def from_document(cls, document: Any) -> Histogram:
        """Return the histogram of a manifest. Raises ValueError where it is not one."""
        try:
            is_categorical = "categories" in document
            bounds = tuple(map(float, document["categories" if is_categorical else "bounds"]))
            counts = tuple(map(int, document["counts"]))
            name, position = str(document["name"]), int(document["position"])
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"not a histogram: {problem!r}") from None
        if len(counts) != len(bounds) + 2 + is_categorical or sum(counts) <= 0:
            raise ValueError(f"not a histogram: {len(counts)} counts of {len(bounds)} bounds")
        if len(counts) > BINS or min(counts) < 0 or position < 0:
            raise ValueError(f"not a histogram: {name}")
        return cls(name, position, is_categorical, bounds, counts)


def of_column(name: str, position: int, values: Floats, is_categorical: bool) -> Histogram:
    """Return the histogram of a column, float32 [rows], NaN where a value is missing."""
    bounds = _codes(values) if is_categorical else _quantiles(values)
    empty = Histogram(name, position, is_categorical, bounds, ())
    bins = Binning([empty]).bins(values[:, None])[:, 0]
    size = len(bounds) + 2 + is_categorical
    counts = tuple(np.bincount(bins, minlength=size).tolist())
    return Histogram(name, position, is_categorical, bounds, counts)


def _codes(values: Floats) -> tuple[float, ...]:
    """Return the most frequent codes."""
    codes, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:CATEGORIES]
    return tuple(map(_short, codes[order]))


def _quantiles(values: Floats) -> tuple[float, ...]:
    """Return the bounds between bins: below the least value, near quantiles, above the greatest.

    Bounds lie halfway between values, where there is room: the same score from another engine, or
    with another order of additions, must not fall into the next bin with all that equal it.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return ()
    unique = np.unique(finite).astype(np.float64)
    margin = MARGIN + RELATIVE_MARGIN * np.abs(unique)
    has_room, reach = np.diff(unique) > margin[:-1], MOST_SKIPPED + len(unique) // 100
    shares = np.arange(1, QUANTILES) / QUANTILES
    bounds = [unique[0] - margin[0], unique[-1] + margin[-1]]
    for at in np.searchsorted(unique, np.quantile(finite, shares, method="inverted_cdf")):
        if at < len(has_room):
            place = at + int(has_room[at : at + reach].argmax())
            bounds.append((unique[place] + unique[place + 1]) / 2)
    found = np.unique(np.array(bounds, np.float32))
    return tuple(map(_short, found[np.isfinite(found)]))


def _short(value: np.float32) -> float:
    """Return the float whose text is the shortest that reads as this float32."""
    return float(str(value))


class Binning:
    """Finds the bins of many columns at once."""

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        shape = len(histograms), BINS
        self.bounds = np.full(shape, np.nan, np.float32)
        for row, histogram in enumerate(histograms):
            self.bounds[row, : len(histogram.bounds)] = histogram.bounds
        self.missing = np.array([histogram.missing for histogram in histograms], np.uint8)
        kinds = np.array([histogram.is_categorical for histogram in histograms], bool)
        self.numbers, self.codes = np.flatnonzero(~kinds), np.flatnonzero(kinds)

    def bins(self, values: Floats) -> Bins:
        """Return the bin of each value, uint8 [rows, columns], of float32 [rows, columns]."""
        bins = np.empty(values.shape, np.uint8)
        if self.numbers.size:
            own = values[:, self.numbers]
            found = np.zeros(own.shape, np.uint8)
            for bound in self.bounds[self.numbers].T:  # NaN where a column has no more
                found += own > bound
            bins[:, self.numbers] = found
        if self.codes.size:
            own = values[:, self.codes]
            found = np.broadcast_to(self.missing[self.codes] - 1, own.shape).copy()
            for number, code in enumerate(self.bounds[self.codes].T):
                found[own == code] = number
            bins[:, self.codes] = found
        return np.where(np.isnan(values), self.missing, bins)


def tally(bins: Bins) -> Counts:
    """Return the rows in each bin of each column, int64 [columns, BINS], of [rows, columns]."""
    return np.stack([(bins == number).sum(axis=0) for number in range(BINS)], axis=1)


class Baseline:
    """The histograms of training, to compare others with."""

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        self.sizes = np.array([len(histogram.counts) for histogram in histograms])
        self.exists = np.arange(BINS) < self.sizes[:, None]
        counts = np.zeros((len(histograms), BINS), np.int64)
        for row, histogram in enumerate(histograms):
            counts[row, : len(histogram.counts)] = histogram.counts
        self.rows = counts.sum(axis=1)
        self.shares = self._shares(counts)

    def psi(self, counts: Counts) -> NDArray[np.float64]:
        """Return the PSI of each column for its counts, int64 [columns, BINS]."""
        shares = self._shares(counts)
        return np.asarray(((self.shares - shares) * np.log(self.shares / shares)).sum(axis=1))

    def by_chance(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return a PSI that `rows` of the training distribution practically never reach: six
        standard deviations above their mean."""
        freedom = self.sizes - 1
        noise = 1 / self.rows + 1 / np.maximum(rows, 1)
        return np.asarray((freedom + 6 * np.sqrt(2 * freedom)) * noise)

    def _shares(self, counts: Counts) -> NDArray[np.float64]:
        """Return the share of each bin; 1 for bins that do not exist, which adds nothing."""
        smooth = counts + HALF
        total = (smooth * self.exists).sum(axis=1, keepdims=True)
        return np.where(self.exists, smooth / total, 1.0)
