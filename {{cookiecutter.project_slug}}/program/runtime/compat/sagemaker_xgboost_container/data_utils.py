"""A channel as a DMatrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from sagemaker_algorithm_toolkit.exceptions import UserError
from scipy.sparse import csr_matrix, vstack

from runtime.formats import Table, read_channel, resolve
from runtime.formats.errors import FormatError, MediaTypeError
from runtime.formats.files import files_of

CSV, LIBSVM, PARQUET, RECORDIO_PROTOBUF = "csv", "libsvm", "parquet", "recordio-protobuf"
FORMATS = (CSV, LIBSVM, PARQUET, RECORDIO_PROTOBUF)

Where = str | Sequence[str] | None


def get_content_type(content_type_cfg_val: str | None) -> str:
    """Return the short name of a channel's content type; libsvm for none, as built in."""
    try:
        codec, _ = resolve(content_type_cfg_val, LIBSVM)
    except MediaTypeError as problem:
        raise UserError(str(problem)) from None
    if codec.name not in FORMATS:
        raise UserError(f"{content_type_cfg_val} is not an accepted content type")
    return codec.name


def get_dmatrix(
    data_path: Where, content_type: str, csv_weights: int = 0, is_pipe: bool = False
) -> xgboost.DMatrix | None:
    """Return a folder, a file, or several of them, as one DMatrix; None without data.

    The label is column 0, with `csv_weights=1` column 1 is the weight. Column numbers of libsvm are
    those of the files. Raises UserError for data that cannot be read, or without labels.
    """
    if is_pipe:
        raise UserError("pipe mode is not supported: use input mode File or FastFile")
    name = get_content_type(content_type)
    paths = [data_path] if isinstance(data_path, str) else data_path or []
    tables = []
    for path in map(Path, paths):
        if path.exists() and files_of(path):
            try:
                tables.append(
                    read_channel(path, name, name, csv_weights=csv_weights == 1, index_base=0)
                )
            except FormatError as problem:
                raise UserError(f"Failed to load {name} data with exception:\n{problem}") from None
    if not tables:
        return None
    if any(table.labels is None or not len(table.labels) for table in tables):
        raise UserError("Got input data without labels. Please check the input data set.")
    return matrix_of(tables)


def matrix_of(tables: Sequence[Table]) -> xgboost.DMatrix:
    """Return tables of the same columns as one DMatrix."""
    return xgboost.DMatrix(
        _stacked([table.features for table in tables]),
        label=_joined([table.labels for table in tables]),
        weight=_joined([table.weights for table in tables]),
        qid=_joined([table.query_ids for table in tables]),
    )


def _joined(columns: list[Any]) -> Any:
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None


def _stacked(blocks: list[Any]) -> Any:
    if len(blocks) == 1:
        return blocks[0]
    if all(isinstance(block, np.ndarray) for block in blocks):
        return np.concatenate(blocks)
    width = max(block.shape[1] for block in blocks)
    sparse = [csr_matrix(block) for block in blocks]
    return vstack([csr_matrix((b.data, b.indices, b.indptr), (b.shape[0], width)) for b in sparse])


def get_csv_dmatrix(path: Where, csv_weights: int, is_pipe: bool = False) -> Any:
    """Return CSV files as a DMatrix."""
    return get_dmatrix(path, CSV, csv_weights, is_pipe)


def get_libsvm_dmatrix(files_path: Where, is_pipe: bool = False) -> Any:
    """Return LIBSVM files as a DMatrix."""
    return get_dmatrix(files_path, LIBSVM, 0, is_pipe)


def get_parquet_dmatrix(path: Where, is_pipe: bool = False) -> Any:
    """Return Parquet files as a DMatrix."""
    return get_dmatrix(path, PARQUET, 0, is_pipe)


def get_recordio_protobuf_dmatrix(path: Where, is_pipe: bool = False) -> Any:
    """Return RecordIO-protobuf files as a DMatrix."""
    return get_dmatrix(path, RECORDIO_PROTOBUF, 0, is_pipe)


def validate_data_file_path(data_path: str, content_type: str) -> None:
    """Raise UserError when there is no such path or type; `get_dmatrix` checks the data itself."""
    get_content_type(content_type)
    if not Path(data_path).exists():
        raise UserError(f"{data_path} is not a valid path!")


def get_size(data_path: str, is_pipe: bool = False) -> int:
    """Return the bytes of the data files below a path; 0 when there is none."""
    path = Path(data_path)
    return sum(file.stat().st_size for file in files_of(path)) if path.exists() else 0
