"""Train on one machine: hyperparameters from the command line, data and folders from SM_*."""

import argparse
import json
import os

import xgboost
from sagemaker_xgboost_container.data_utils import get_dmatrix

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--max_depth", type=int, default=5)
    parser.add_argument("--eta", type=float, default=0.2)
    parser.add_argument("--objective", default="reg:squarederror")
    parser.add_argument("--num_round", type=int, default=10)
    parser.add_argument("--train", default=os.environ.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--validation", default=os.environ.get("SM_CHANNEL_VALIDATION"))
    parser.add_argument("--content_type", default="csv")
    arguments, _ = parser.parse_known_args()
    train = get_dmatrix(arguments.train, arguments.content_type)
    validation = get_dmatrix(arguments.validation, arguments.content_type)
    parameters = {
        "max_depth": arguments.max_depth,
        "eta": arguments.eta,
        "objective": arguments.objective,
        "nthread": 1,
    }
    results = {}
    booster = xgboost.train(
        parameters,
        train,
        arguments.num_round,
        evals=[(train, "train"), (validation, "validation")],
        evals_result=results,
    )
    booster.save_model(os.path.join(os.environ["SM_MODEL_DIR"], "xgboost-model.ubj"))
    with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "results.json"), "w") as file:
        json.dump(results, file)
