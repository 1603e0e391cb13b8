"""Monotone and interaction constraints: what XGBoost's Python package takes, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from scipy.sparse import csr_matrix

from runtime.job.failures import UserError
from runtime.training.constraints import INTERACTIONS, MONOTONE, resolve
from training_job import Job, csv_text, numbers

NAMES = ("a", "b", "c", "d", "e", "f")
ROWS, SCORE = numbers(400, 0)
LABELS = SCORE.astype(np.float32)


def header(names: tuple[str, ...] = NAMES) -> str:
    return f"label,{','.join(names)}\n" + csv_text(LABELS, ROWS)


def libsvm(base: int) -> str:
    return "".join(
        f"{label:.9g} "
        + " ".join(f"{i + base}:{cell:.9g}" for i, cell in enumerate(row) if not np.isnan(cell))
        + "\n"
        for label, row in zip(LABELS, ROWS, strict=True)
    )


def as_libsvm_has_them() -> csr_matrix:
    present = ~np.isnan(ROWS)
    return csr_matrix((ROWS[present], np.nonzero(present)), shape=ROWS.shape)


def trained(base: Path, text: str, kind: str = "text/csv", **hyperparameters: str) -> Job:
    given = {"num_round": "5", "objective": "reg:squarederror", "nthread": "1"}
    job = Job(base, {**given, **hyperparameters})
    job.put("train", "data", text, ContentType=kind)
    return job


def by_hand(*, sparse: bool = False, **constraints: Any) -> bytes:
    """Return the model of XGBoost's own Python package."""
    rows, names = (as_libsvm_has_them(), None) if sparse else (ROWS, NAMES)
    data = xgboost.DMatrix(rows, label=LABELS, feature_names=names)
    params = {"objective": "reg:squarederror", "nthread": 1, **constraints}
    return bytes(xgboost.train(params, data, 5).save_raw("ubj"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(1,-1,0,0,0,1)", (1, -1, 0, 0, 0, 1)),
        ("[1, -1, 0, 0, 0, 1]", (1, -1, 0, 0, 0, 1)),
        ('{"a": 1, "b": -1}', {"a": 1, "b": -1}),
        ("{'f': -1}", {"f": -1}),
        ("(1,-1)", "(1,-1)"),
    ],
)
def test_monotone_constraints_are_those_of_the_python_package(
    tmp_path: Path, text: str, value: Any
) -> None:
    job = trained(tmp_path, header(), monotone_constraints=text)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert trees(job.model) == trees(by_hand(monotone_constraints=value))
    assert trees(job.model) != trees(by_hand())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[[0,1],[2,3]]", "[[0,1],[2,3]]"),
        ('[["a","b"],["c"]]', [["a", "b"], ["c"]]),
        ("((0,1),(2,))", "[[0,1],[2]]"),
    ],
)
def test_interaction_constraints_are_those_of_the_python_package(
    tmp_path: Path, text: str, value: Any
) -> None:
    job = trained(tmp_path, header(), interaction_constraints=text)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert trees(job.model) == trees(by_hand(interaction_constraints=value))


def trees(model: bytes) -> list[str]:
    return xgboost.Booster(model_file=bytearray(model)).get_dump(with_stats=True)


@pytest.mark.parametrize("name", ["monotone_constraints", "interaction_constraints"])
def test_the_built_ins_column_0_of_libsvm_is_counted_as_it_counts(
    tmp_path: Path, name: str
) -> None:
    theirs = {
        "monotone_constraints": "(0,1,-1,0,0,0,1)",
        "interaction_constraints": "[[1,2],[3,6]]",
    }
    ours = {"monotone_constraints": "(1,-1,0,0,0,1)", "interaction_constraints": "[[0,1],[2,5]]"}
    job = trained(tmp_path, libsvm(1), "text/libsvm", **{name: theirs[name]})
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert f"{name}" in "".join(line for line in outcome.log.splitlines() if "note:" in line)
    assert trees(job.model) == trees(by_hand(sparse=True, **{name: ours[name]}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("monotone_constraints", "(1,0,-1,2)", "must be -1, 0 or 1 per column"),
        ("monotone_constraints", "(1,0,0,0,0,0,0)", "has 7 values: the model has 6 columns"),
        ("monotone_constraints", '{"z": 1}', "unknown columns: z"),
        ("monotone_constraints", "__import__('os')", "must be -1, 0 or 1 per column"),
        ("interaction_constraints", "[[0,1],[-2,3]]", "must be groups of column numbers"),
        ("interaction_constraints", "[[1,99]]", "beyond the model's 6: 99"),
        ("interaction_constraints", '[["a","z"]]', "unknown columns: z"),
        ("interaction_constraints", '[["a",1]]', "must be groups of column numbers"),
        ("interaction_constraints", "[[0,1]", "must be groups of column numbers"),
    ],
)
def test_other_constraints_are_refused_before_training(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    job = trained(tmp_path, header(), **{name: text})
    outcome = job.run()
    assert outcome.code == 1
    assert message in job.failure
    assert "#011" not in outcome.log


def test_names_need_names_and_libsvm_counts_must_fit() -> None:
    with pytest.raises(UserError, match="the data has none"):
        resolve({"monotone_constraints": MONOTONE('{"a": 1}')}, 6, None, None)
    with pytest.raises(UserError, match="has 5 values: the model has 6 columns, or 7"):
        resolve({"monotone_constraints": [0] * 5}, 6, None, 1)
    with pytest.raises(UserError, match="beyond the model's 6: 7"):
        resolve({"interaction_constraints": INTERACTIONS("[[1,7]]")}, 6, None, 1)
