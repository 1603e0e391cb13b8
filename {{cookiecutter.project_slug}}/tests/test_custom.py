"""What custom.py holds has the form that training and serving expect, on rows of sample data."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

import custom
import features
import settings
from runtime.training import metric_table
from runtime.training.parameters import OBJECTIVES
from sample import make_sample

CLASSES = settings.load().num_classes
_, VALUES, LABELS, COLUMNS, _ = make_sample.load(CLASSES)
ROWS, _ = features.transform(np.array(VALUES[:60], np.float32), tuple(COLUMNS))
DATA = xgboost.DMatrix(ROWS, np.array(LABELS[:60], np.float32), nthread=1)
SHAPE = (len(ROWS), CLASSES) if CLASSES > 2 else (len(ROWS),)
SCORES = np.full(SHAPE, 0.4, np.float32)


@pytest.mark.skipif(custom.objective is None, reason="custom.py has no objective")
def test_the_objective_gives_a_gradient_and_a_positive_hessian_per_margin() -> None:
    assert custom.objective is not None
    assert custom.LINK in OBJECTIVES
    gradient, hessian = custom.objective(np.zeros(SHAPE, np.float32), DATA)
    assert np.shape(gradient) == np.shape(hessian) == SHAPE
    assert np.isfinite(gradient).all()
    assert (np.asarray(hessian) > 0).all()


def test_metrics_have_names_directions_and_finite_values() -> None:
    assert metric_table.own_faults() == []
    for metric in custom.metrics:
        assert np.isfinite(metric.function(SCORES, DATA)).all(), metric.name


@pytest.mark.skipif(custom.callbacks is None, reason="custom.py has no callbacks")
def test_callbacks_are_new_ones_for_each_training() -> None:
    assert custom.callbacks is not None
    first, second = custom.callbacks(), custom.callbacks()
    assert all(isinstance(each, xgboost.callback.TrainingCallback) for each in first)
    assert not set(map(id, first)) & set(map(id, second))


@pytest.mark.skipif(custom.postprocess is None, reason="custom.py has no postprocess")
def test_postprocess_keeps_rows_and_their_order() -> None:
    assert custom.postprocess is not None
    scores = np.linspace(0.01, 0.99, SCORES.size, dtype=np.float32).reshape(SHAPE)
    whole = custom.postprocess(scores, ROWS)
    assert len(whole) == len(ROWS)
    np.testing.assert_array_equal(custom.postprocess(scores[::-1], ROWS[::-1]), whole[::-1])


def test_media_types_are_in_lower_case() -> None:
    for name in (*custom.decoders, *custom.encoders):
        assert name == name.lower()
        assert "/" in name


def test_label_names_are_one_per_class() -> None:
    assert custom.LABEL_NAMES is None or len(custom.LABEL_NAMES) == max(CLASSES, 2)
