"""What a data scientist would write by hand to train on one CSV file, and nothing else.

`python benchmarks/by_hand.py FILE MODEL JSON` reads FILE (label first) with pyarrow, trains with
the hyperparameters in JSON, and saves MODEL.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.csv
import xgboost

_, data, model, text = sys.argv
parameters = json.loads(text)
rounds = parameters.pop("num_round")
table = pyarrow.csv.read_csv(data, pyarrow.csv.ReadOptions(autogenerate_column_names=True))
columns = [column.to_numpy().astype(np.float32) for column in table.columns]
matrix = xgboost.QuantileDMatrix(np.column_stack(columns[1:]), columns[0])
booster = xgboost.train(parameters, matrix, rounds, evals=[(matrix, "train")])
booster.save_model(model)
