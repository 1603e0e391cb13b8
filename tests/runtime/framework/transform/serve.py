"""One function from the request to its answer."""

import json
import os

import numpy
import xgboost


def model_fn(model_dir):
    """Load the model."""
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model.ubj"))


def transform_fn(model, request_body, content_type, accept):
    """Answer each line with its score and the types that were asked for."""
    lines = request_body if isinstance(request_body, str) else request_body.decode()
    rows = [[float(cell or "nan") for cell in line.split(",")] for line in lines.split("\n")]
    scores = model.predict(xgboost.DMatrix(numpy.array(rows)))
    body = "".join(json.dumps([round(float(s), 4), content_type]) + "\n" for s in scores)
    return body, accept
