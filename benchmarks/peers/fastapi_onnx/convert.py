"""`python convert.py MODEL ONNX`: write XGBoost's MODEL as ONNX."""

from __future__ import annotations

import sys
from pathlib import Path

import xgboost
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

booster = xgboost.Booster(model_file=sys.argv[1])
rows = FloatTensorType([None, booster.num_features()])
model = convert_xgboost(booster, initial_types=[("rows", rows)])
Path(sys.argv[2]).write_bytes(model.SerializeToString())
