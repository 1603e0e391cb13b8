"""All functions of serving but transform_fn, with formats of the team's own."""

import json
import os

import numpy
import xgboost
from sagemaker_containers.beta.framework import encoders, worker
from sagemaker_xgboost_container import encoder


def model_fn(model_dir):
    """Load the model."""
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model.ubj"))


def input_fn(request_body, content_type):
    """Read JSON objects of our own beside the known types."""
    if content_type == "application/json":
        rows = json.loads(request_body)["instances"]
        return xgboost.DMatrix(numpy.array(rows, dtype=float))
    if content_type.startswith("text/x-labelled"):
        text = request_body if isinstance(request_body, str) else request_body.decode()
        return encoder.csv_to_dmatrix(text.partition("|")[2])
    return encoder.decode(request_body, content_type)


def predict_fn(data, model):
    """Return predictions beside the contributions of the columns."""
    return numpy.column_stack([model.predict(data), model.predict(data, pred_contribs=True)])


def output_fn(prediction, accept):
    """Answer an object in JSON, and everything else as usual."""
    if accept == "application/json":
        document = {"scores": prediction[:, 0].tolist(), "shape": list(prediction.shape)}
        return worker.Response(json.dumps(document), mimetype=accept)
    return encoders.encode(prediction, accept), accept
