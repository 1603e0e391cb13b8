"""Train small models with whatever XGBoost is installed here: `python train.py ROWS FOLDER`.

Runs under Python 3.7 to 3.12 and XGBoost 0.90 to 3.4, in environments that `make.py` prepares.
Writes each model in every form that this XGBoost saves, and `answers.json`: what this XGBoost
itself answers for ROWS, a csv file without a header. `answers` is what its user sees by default
(an early-stopped model is cut to its best round), `all` is the answer with every tree.
"""

import inspect
import json
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import xgboost

VERSION = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
NAMES = ["age", "income", "rooms", "lat", "lon"]
STORED = ["north", "south", "east", "a b", "5"]
STOPPED = {"early_stopping_rounds": 2}
BINARY = {"objective": "binary:logistic"}
FIVE = {"objective": "multi:softprob", "num_class": 5}
DART = {"booster": "dart", "rate_drop": 0.4, "one_drop": 1}
MISSING = -999.0

# name -> parameters, label, early stopping
BOOSTERS = {
    "regression": ({}, "real", False),
    "regression-stopped": ({}, "real", True),
    "binary": (BINARY, "binary", False),
    "binary-stopped": (BINARY, "binary", True),
    "five-stopped": (FIVE, "five", True),
    "five-parallel-stopped": (dict(FIVE, num_parallel_tree=3, subsample=0.5), "five", True),
    "dart": (dict(DART, **BINARY), "binary", False),
    "dart-stopped": (dict(DART, **BINARY), "binary", True),
    "linear": ({"booster": "gblinear"}, "real", False),
    "linear-stopped": ({"booster": "gblinear"}, "real", True),
    "forest": ({"num_parallel_tree": 6, "subsample": 0.5, "eta": 1.0}, "real", False),
    "poisson-stopped": ({"objective": "count:poisson"}, "count", True),
    "ranking": ({"objective": "rank:ndcg"}, "count", False),
    "names": (BINARY, "binary", False),
    "categorical": (dict(BINARY, max_cat_to_onehot=1), "binary", False),
    "parallel-stopped": ({"num_parallel_tree": 3, "subsample": 0.5}, "real", True),
}
if VERSION >= (3, 3):
    BOOSTERS.update(
        {
            "vector": ({"multi_strategy": "multi_output_tree"}, "targets", False),
            "vector-dart": (dict(DART, multi_strategy="multi_output_tree"), "targets", False),
            "expectiles": (
                {"objective": "reg:expectileerror", "expectile_alpha": [0.1, 0.5, 0.9]},
                "real",
                False,
            ),
            "absolute": ({"objective": "reg:absoluteerror"}, "real", False),
            "frame": (dict(BINARY, max_cat_to_onehot=1), "binary", False),
            "frame-onehot": ({"max_cat_to_onehot": 100}, "real", False),
        }
    )
EVERY_FORM = ("binary-stopped", "dart", "linear")


def draw(seed, count):
    """Return features and labels; a tenth of the cells is missing, the third column counts."""
    random = np.random.RandomState(seed)
    rows = random.normal(size=(count, 5)).astype(np.float32)
    rows[:, 2] = random.randint(0, 5, count)
    score = rows[:, 0] - rows[:, 1] + 0.5 * rows[:, 2] + random.normal(size=count)
    score = score.astype(np.float32)
    rows[random.rand(*rows.shape) < 0.1] = np.nan
    rows[:, 2] = np.nan_to_num(rows[:, 2])
    labels = {
        "real": score,
        "binary": score > np.median(score),
        "five": np.argsort(np.argsort(score)) * 5 // count,
        "count": np.clip(np.round(score), 0, 4),
        "targets": np.column_stack([score, rows[:, 2]]),
    }
    return rows, labels


def matrix(rows, name, label=None):
    """Return a DMatrix as the user of the model called `name` makes it."""
    options = {"feature_names": NAMES} if name == "names" else {}
    if name.startswith("frame"):  # its categories are strings, which the model stores
        import pandas

        rows = pandas.DataFrame(rows, columns=NAMES)
        codes = rows["rooms"].astype(int)
        rows["rooms"] = pandas.Categorical.from_codes(codes, categories=STORED)
    if name == "categorical":
        options = {"enable_categorical": True, "feature_types": list("qqcqq")}
    data = xgboost.DMatrix(rows, label=label, missing=np.nan, **options)
    if name == "ranking" and label is not None:
        data.set_group([20] * (len(rows) // 20))
    return data


def cut(booster, stopped):
    """Return the option of `predict` that the documentation of this version tells to give."""
    if not stopped:
        return {}
    if "iteration_range" in inspect.signature(booster.predict).parameters:
        return {"iteration_range": (0, int(booster.attr("best_iteration")) + 1)}
    return {"ntree_limit": booster.best_ntree_limit}


def train_booster(name, parameters, label, stopped):
    """Return a Booster of `xgboost.train`."""
    rows, labels = draw(0, 200)
    watched, noise = draw(1, 100)
    parameters = dict(parameters, max_depth=2, seed=3, nthread=1)
    if name == "categorical":
        parameters["tree_method"] = "approx" if VERSION < (1, 7) else "hist"
    options = {}
    if stopped:  # labels of noise: the best round is one of the first
        label_of_noise = np.random.RandomState(2).permutation(noise[label])
        options = dict(STOPPED, evals=[(matrix(watched, name, label_of_noise), "v")])
    return xgboost.train(
        parameters, matrix(rows, name, labels[label]), 5, verbose_eval=False, **options
    )


def answers_of_booster(booster, rows, name, stopped):
    """Return what this XGBoost predicts."""
    data, limits = matrix(rows, name), cut(booster, stopped and "linear" not in name)
    found = {
        "answers": booster.predict(data, **limits),
        "all": booster.predict(data),
        "margins": booster.predict(data, output_margin=True, **limits),
    }
    if stopped and "linear" not in name:
        found["rounds"] = int(booster.attr("best_iteration")) + 1
    if name != "categorical" and not name.startswith(("frame", "vector")):
        few = matrix(rows[:2], name)
        found["contributions"] = booster.predict(few, pred_contribs=True, **limits)
    return found


def wrappers():
    """Yield name, fitted estimator, label and the function that its user calls."""
    rows, labels = draw(0, 200)
    watched, noise = draw(1, 100)
    options = {"max_depth": 2, "n_estimators": 5, "n_jobs": 1, "random_state": 3}
    noise = {key: np.random.RandomState(2).permutation(value) for key, value in noise.items()}
    classifier = dict(options, use_label_encoder=False) if (1, 3) <= VERSION < (1, 6) else options
    fitting = STOPPED if VERSION < (1, 6) else {}
    making = {} if fitting else STOPPED
    for name, label in (("classifier-stopped", "binary"), ("classifier-five-stopped", "five")):
        model = xgboost.XGBClassifier(**dict(classifier, **making))
        evals = [(watched, noise[label].astype(int))]
        model.fit(rows, labels[label].astype(int), eval_set=evals, verbose=False, **fitting)
        yield name, model, model.predict_proba
    model = xgboost.XGBClassifier(**classifier)
    evals = [(watched, noise["binary"].astype(int))]
    model.fit(rows, labels["binary"].astype(int), eval_set=evals, verbose=False)
    yield "classifier", model, model.predict_proba
    model = xgboost.XGBRegressor(missing=MISSING, **options)
    model.fit(np.where(np.isnan(rows), np.float32(MISSING), rows), labels["real"])
    yield "regressor-missing", model, model.predict
    model = xgboost.XGBRFRegressor(**dict(options, n_estimators=6))
    model.fit(rows, labels["real"])
    yield "random-forest", model, model.predict


def answers_of_wrapper(name, model, predict, rows):
    """Return what the estimator answers, and its Booster with all trees."""
    if name == "regressor-missing":
        rows = np.where(np.isnan(rows), np.float32(MISSING), rows)
    found = predict(rows)
    booster = model.get_booster()
    missing = MISSING if name == "regressor-missing" else np.nan
    data = xgboost.DMatrix(rows, missing=missing)
    result = {
        "answers": found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found,
        "all": booster.predict(data),
    }
    if "stopped" in name:
        result["rounds"] = int(booster.attr("best_iteration")) + 1
    return result


def save(name, model, folder, every):
    """Write a model in the forms that this XGBoost has; return the names of the files."""
    files = []
    if VERSION >= (1, 0):
        files.append(name + ".json")
        model.save_model(str(folder / files[-1]))
    if every and VERSION >= (1, 6):
        files.append(name + ".ubj")
        model.save_model(str(folder / files[-1]))
    if every and VERSION < (3, 1):
        files.append(name + (".deprecated" if VERSION >= (2, 0) else ".model"))
        model.save_model(str(folder / files[-1]))
    if every:
        files.append(name + ".pickle")
        (folder / files[-1]).write_bytes(pickle.dumps(model))
    return files


def plain(value):
    """Return an answer as JSON keeps it: float32 in nine digits."""
    if isinstance(value, int):
        return value
    flat = [float(f"{number:.9g}") for number in np.asarray(value, np.float32).ravel()]
    return {"shape": list(np.asarray(value).shape), "values": flat}


def main(rows_file, folder):
    """Train, save and answer."""
    rows = np.genfromtxt(rows_file, delimiter=",", dtype=np.float32)
    known = {}
    for name, (parameters, label, stopped) in BOOSTERS.items():
        if name == "categorical" and VERSION < (1, 6):
            continue
        booster = train_booster(name, parameters, label, stopped)
        files = save(name, booster, folder, name in EVERY_FORM)
        found = answers_of_booster(booster, rows, name, stopped)
        known.update(dict.fromkeys(files, found))
    for name, model, predict in wrappers():
        files = save(name, model, folder, True)
        found = answers_of_wrapper(name, model, predict, rows)
        known.update(dict.fromkeys(files, found))
    document = {
        file: {key: plain(value) for key, value in found.items()}
        for file, found in sorted(known.items())
    }
    text = json.dumps(document, indent=None, sort_keys=True)
    (folder / "answers.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
