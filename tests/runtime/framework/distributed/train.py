"""Train on one or several hosts: hosts without data drop out, the first one saves the model."""

import argparse
import json
import os

import xgboost
from sagemaker_containers import entry_point
from sagemaker_xgboost_container import distributed
from sagemaker_xgboost_container.data_utils import get_dmatrix


def fit(params, dtrain, evals, num_boost_round, model_dir, is_master):
    """Train on this host's rows together with the other hosts."""
    booster = xgboost.train(params, dtrain, num_boost_round=num_boost_round, evals=evals)
    if is_master:
        booster.save_model(os.path.join(model_dir, "xgboost-model.ubj"))
        print("saved by", os.environ["SM_CURRENT_HOST"])


def model_fn(model_dir):
    """Load the model for serving."""
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model.ubj"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--max_depth", type=int)
    parser.add_argument("--eta", type=float)
    parser.add_argument("--num_round", type=int)
    parser.add_argument("--sm_hosts", default=os.environ.get("SM_HOSTS"))
    parser.add_argument("--sm_current_host", default=os.environ.get("SM_CURRENT_HOST"))
    arguments, _ = parser.parse_known_args()
    hosts = json.loads(arguments.sm_hosts)
    train = get_dmatrix(os.environ["SM_CHANNEL_TRAIN"], "libsvm")
    given = {
        "params": {"max_depth": arguments.max_depth, "eta": arguments.eta, "nthread": 1},
        "dtrain": train,
        "evals": [(train, "train")] if train is not None else [],
        "num_boost_round": arguments.num_round,
        "model_dir": os.environ["SM_MODEL_DIR"],
    }
    if len(hosts) > 1:
        entry_point._wait_hostname_resolution()
        distributed.rabit_run(
            exec_fun=fit,
            args=given,
            include_in_training=train is not None,
            hosts=hosts,
            current_host=arguments.sm_current_host,
            update_rabit_args=True,
        )
    else:
        fit(**given, is_master=True)
