"""model_fn alone: everything else is the default."""

import os

import xgboost


def model_fn(model_dir):
    """Load the model."""
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "xgboost-model.ubj"))
    return booster
