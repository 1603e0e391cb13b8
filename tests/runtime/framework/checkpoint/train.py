"""Train with checkpoints; a job that is started again continues."""

import argparse
import os

from sagemaker_xgboost_container import checkpointing
from sagemaker_xgboost_container.data_utils import get_dmatrix

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_round", type=int)
    parser.add_argument("--checkpoints")
    arguments, _ = parser.parse_known_args()
    train = get_dmatrix(os.environ["SM_CHANNEL_TRAIN"], "csv")
    given = {
        "params": {"max_depth": 3, "nthread": 1},
        "dtrain": train,
        "num_boost_round": arguments.num_round,
        "evals": [(train, "train")],
    }
    folder = os.path.join(os.environ["SM_MODEL_DIR"], "..", "checkpoints")
    booster = checkpointing.train(given, folder)
    booster.save_model(os.path.join(os.environ["SM_MODEL_DIR"], "xgboost-model.ubj"))
    print("checkpoints:", sorted(os.listdir(folder)))
