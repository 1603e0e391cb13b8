"""The two shapes that data has in this program: a request's rows, and a training table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Schema:
    """What a decoder must know of the model: columns, their names, and libsvm's first index."""

    num_features: int
    feature_names: tuple[str, ...] | None = None
    index_base: int = 0


@dataclass(frozen=True)
class Table:
    """Training data. `features` is float32 [rows, columns], dense with NaN for missing cells or
    sparse where absent means missing; the others are float32 or int [rows], or None."""

    features: Floats | csr_matrix
    labels: Floats | None = None
    weights: Floats | None = None
    query_ids: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None
    index_base: int | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])


Columns = dict[str, list[Any]]
