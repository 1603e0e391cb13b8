"""Training jobs: channels as they come, and hyperparameters at their defaults and bounds.

A case must end as the built-in ends it: the figure in `figures/training.json`. Those that
`training_differences` lists by a row of README's table end otherwise, on purpose.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from differential import recordio

COLUMNS = 4


@dataclass(frozen=True)
class Channel:
    """The files of a channel and its entry in inputdataconfig.json."""

    files: Mapping[str, bytes]
    content_type: str | None = "text/csv"
    mode: str = "File"
    distribution: str = "FullyReplicated"


@dataclass(frozen=True)
class Job:
    """A job."""

    name: str
    hyperparameters: Mapping[str, str]
    channels: Mapping[str, Channel]

    @property
    def id(self) -> str:
        return f"job: {self.name}"


@dataclass(frozen=True)
class Choice:
    """Hyperparameters that train on plain numbers, or are refused."""

    given: Mapping[str, str]

    @property
    def id(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.given.items())


def numbers(count: int = 60, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows of few digits, and a score that depends on them."""
    rows = np.random.default_rng(seed).normal(size=(count, COLUMNS)).round(2).astype(np.float32)
    return rows, (rows[:, 0] - rows[:, 1] + rows[:, 2] * rows[:, 3]).round(2)


def labels(objective: str, score: np.ndarray) -> np.ndarray:
    """Return labels that the objective takes."""
    if objective.startswith("multi:"):
        return np.digitize(score, [-0.7, 0.7])
    if objective.startswith(("binary:", "rank:")) or objective == "reg:logistic":
        return (score > 0).astype(int)
    return np.abs(score).round(1) + 0.5


def text(rows: np.ndarray, targets: np.ndarray, delimiter: str = ",", end: str = "\n") -> str:
    """Return delimited text, the label first; a NaN is an empty cell."""
    lines = [
        delimiter.join([f"{y:g}", *("" if np.isnan(x) else f"{x:.2f}" for x in row)])
        for y, row in zip(targets, rows, strict=True)
    ]
    return end.join(lines) + end


def libsvm(rows: np.ndarray, targets: np.ndarray, base: int = 0, weight: str = "") -> str:
    """Return libsvm text."""
    lines = [
        f"{y:g}{weight} " + " ".join(f"{i + base}:{x:.2f}" for i, x in enumerate(row))
        for y, row in zip(targets, rows, strict=True)
    ]
    return "\n".join(lines) + "\n"


def parquet(rows: np.ndarray, targets: np.ndarray) -> bytes:
    """Return a Parquet file, the label first."""
    import pyarrow
    from pyarrow import parquet as files

    columns = {"y": targets} | {f"x{i}": rows[:, i] for i in range(rows.shape[1])}
    stream = io.BytesIO()
    files.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


ROWS, SCORE = numbers()
MORE, MORE_SCORE = numbers(20, 4)
Y, MORE_Y = labels("reg:squarederror", SCORE), labels("reg:squarederror", MORE_SCORE)
CSV = text(ROWS, Y)
BASE = {"num_round": "3", "objective": "reg:squarederror", "max_depth": "2", "eval_metric": "rmse"}


def job(
    name: str,
    content: str | bytes,
    content_type: str | None = "text/csv",
    given: Mapping[str, str] | None = None,
) -> Job:
    """Return a job with one file in the channel train."""
    body = content.encode() if isinstance(content, str) else content
    channels = {"train": Channel({"part-0": body}, content_type)}
    return Job(name, {**BASE, **(given or {})}, channels)


def jobs_of_formats() -> Iterator[Job]:
    """Every format, as files come."""
    for name, delimiter in {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|",
                            "space": " ", "colon": ":"}.items():  # fmt: skip
        yield job(f"csv with {name}", text(ROWS, Y, delimiter))
    holes = ROWS.copy()
    holes[::7, 1] = np.nan
    yield job("csv with empty cells", text(holes, Y))
    yield job("csv with CRLF", text(ROWS, Y, end="\r\n"))
    for kind in ("csv", "text/csv; label_size=1", "text/csv;label_size=1;charset=utf8",
                 "text/csv; label_size=2", "text/csv; label_size=1=1"):  # fmt: skip
        yield job(f"csv as {kind}", CSV, kind)
    weights = text(np.column_stack([np.arange(1, 61) % 3 + 1, ROWS]), Y)
    yield job("csv with weights", weights, given={"csv_weights": "1"})
    yield job("csv with a header", "y,a,b,c,d\n" + CSV)
    yield job("csv with blank lines", CSV.replace("\n", "\n\n", 3))
    yield job("csv with quoted cells", CSV.replace("0.7,", '"0.7",', 1))
    yield job("csv with a word", CSV.replace("0.", "word", 1))
    words = CSV.replace("\n", ",red\n", 20).replace("\n", ",blue\n").replace("red,blue", "red")
    yield job("csv with a column of words", words, given={"enable_categorical": "true"})
    yield job("ragged csv", CSV + "1,2\n")
    yield job("csv with integers and pipes", CSV.replace(".", "").replace(",", "|"))
    yield job("csv of one column", "1\n2\n3\n")
    yield job("csv with a nan label", "nan,1,2,3,4\n" + CSV)
    for kind in ("libsvm", "text/libsvm", "text/x-libsvm", None):
        yield job(f"libsvm as {kind}", libsvm(ROWS, Y), kind)
    yield job("libsvm from index 1", libsvm(ROWS, Y, 1), "text/libsvm")
    yield job("libsvm with weights", libsvm(ROWS, Y, weight=":2"), "text/libsvm")
    yield job("libsvm with a blank line", libsvm(ROWS, Y) + "\n", "text/libsvm")
    yield job("csv as libsvm", CSV, "text/libsvm")
    yield job("libsvm as csv", libsvm(ROWS, Y), "text/csv")
    for kind in ("application/x-recordio-protobuf", "recordio-protobuf"):
        yield job(f"recordio as {kind}", recordio.dense(ROWS, Y), kind)
    yield job("recordio, sparse", recordio.sparse(ROWS, Y), "application/x-recordio-protobuf")
    yield job("recordio without labels", recordio.dense(ROWS), "application/x-recordio-protobuf")
    yield job("csv as recordio", CSV, "application/x-recordio-protobuf")
    for kind in ("application/x-parquet", "parquet"):
        yield job(f"parquet as {kind}", parquet(ROWS, Y), kind)
    yield job("csv as parquet", CSV, "application/x-parquet")
    yield job("content type application/json", CSV, "application/json")
    yield job("csv without a content type", CSV, None)


def jobs_of_channels() -> Iterator[Job]:
    """Channels as they are declared, and as they are not."""
    train = Channel({"part-0": CSV.encode()})
    validation = Channel({"part-0": text(MORE, MORE_Y).encode()})
    other = Channel({"part-0": text(MORE[:, :3], MORE_Y).encode()})
    halves = {"a/part-0": text(ROWS[:30], Y[:30]).encode(),
              "b/part-1": text(ROWS[30:], Y[30:]).encode()}  # fmt: skip
    yield Job("two channels", BASE, {"train": train, "validation": validation})
    yield Job("files in folders", BASE, {"train": Channel(halves)})
    yield Job("sharded", BASE, {"train": Channel(train.files, distribution="ShardedByS3Key")})
    yield Job("an empty validation channel", BASE, {"train": train, "validation": Channel({})})
    yield Job("an empty train channel", BASE, {"train": Channel({})})
    yield Job("validation alone", BASE, {"validation": validation})
    yield Job("a channel called training", BASE, {"training": train})
    yield Job("a channel of another name beside", BASE, {"train": train, "test": validation})
    yield Job("the same file in both channels", BASE, {"train": train, "validation": train})
    yield Job("a validation channel of fewer columns", BASE,
              {"train": train, "validation": other})  # fmt: skip
    yield Job("pipe mode", BASE, {"train": Channel(train.files, mode="Pipe")})
    pipe = Channel({"part-0": libsvm(ROWS, Y).encode()}, "text/libsvm", "Pipe")
    yield Job("pipe mode for libsvm", BASE, {"train": pipe})
    for name in (".hidden", "_SUCCESS"):
        yield Job(f"an empty file called {name}", BASE,
                  {"train": Channel({**train.files, name: b""})})  # fmt: skip
    for rounds in ("1", "3"):
        given = {**BASE, "num_round": "8", "early_stopping_rounds": rounds, "eta": "1"}
        yield Job(f"early stopping after {rounds}", given,
                  {"train": train, "validation": validation})  # fmt: skip
    silent = {k: v for k, v in BASE.items() if k != "eval_metric"}
    yield Job("early stopping without a metric",
              {**silent, "num_round": "30", "early_stopping_rounds": "1", "eta": "1"},
              {"train": train, "validation": validation})  # fmt: skip
    yield Job("cross-validation", {**BASE, "_kfold": "3"}, {"train": train})
    yield Job("cross-validation, twice", {**BASE, "_kfold": "2", "_num_cv_round": "2"},
              {"train": train})  # fmt: skip


def jobs_of_metrics() -> Iterator[Job]:
    """What each metric is, of labels and predictions that tell right from wrong."""
    names = {
        "binary:logistic": "accuracy balanced_accuracy f1 f1_binary f1_macro precision "
        "precision_macro precision_micro recall recall_macro recall_micro error error@0.7 "
        "logloss auc aucpr",
        "binary:logitraw": "accuracy f1 precision",
        "binary:hinge": "accuracy error",
        "multi:softprob": "accuracy balanced_accuracy f1 f1_macro precision_macro "
        "precision_micro recall_macro recall_micro merror mlogloss",
        "multi:softmax": "accuracy f1 merror",
        "reg:squarederror": "mse r2 mae rmse mape",
    }
    for objective, metrics in names.items():
        given = {**BASE, "objective": objective, "eval_metric": ",".join(metrics.split())}
        given |= {"num_class": "3"} if objective.startswith("multi:") else {}
        content = text(ROWS, labels(objective, SCORE))
        yield job(f"metrics of {objective}", content, given=given)
    for objective in ("reg:squarederror", "binary:logistic"):
        silent = {k: v for k, v in BASE.items() if k != "eval_metric"} | {"objective": objective}
        content = text(ROWS, labels(objective, SCORE))
        train = {"train": Channel({"part-0": content.encode()})}
        yield Job(f"the default metric of {objective}", silent, train)
        own = "mse" if objective == "reg:squarederror" else "f1"
        yield Job(f"only {own} with {objective}", {**silent, "eval_metric": own}, train)
        yield Job(f"only {own} to tune, with {objective}",
                  {**silent, "_tuning_objective_metric": f"validation:{own}"}, train)  # fmt: skip
    yield job("no objective", CSV, given={"objective": ""})


VALUES = {
    "num_round": "1 0 2.5 ten",
    "csv_weights": "0 2",
    "early_stopping_rounds": "1 0",
    "booster": "gbtree gblinear dart tree",
    "verbosity": "0 1 3 4 -1",
    "nthread": "1 0",
    "eta": "0 0.3 1 -0.1 1.1",
    "learning_rate": "0.3 1.1",
    "gamma": "0 5 -1",
    "min_split_loss": "0 -1",
    "max_depth": "0 6 10 -1 2.5 6.0",
    "min_child_weight": "0 1 120 -1",
    "max_delta_step": "0 10 -1",
    "subsample": "0 0.5 1 1.1",
    "colsample_bytree": "0 0.5 1 1.1",
    "colsample_bylevel": "0 0.5 1 1.1",
    "colsample_bynode": "0 0.5 1 1.1",
    "lambda": "0 1 1000 -1",
    "reg_lambda": "0 1 -1",
    "alpha": "0 1000 -1",
    "reg_alpha": "0 -1",
    "tree_method": "auto exact approx hist fast",
    "sketch_eps": "0 0.03 1",
    "scale_pos_weight": "0 1",
    "updater": "grow_colmaker grow_histmaker grow_quantile_histmaker grow_skmaker distcol sync "
    "refresh prune grow_colmaker,prune grow_colmaker,grow_histmaker shotgun",
    "dsplit": "row col none",
    "refresh_leaf": "0 1 2",
    "process_type": "default update other",
    "grow_policy": "depthwise lossguide other",
    "max_leaves": "0 4 -1",
    "max_bin": "0 1 2 256 -1",
    "predictor": "auto cpu_predictor gpu_predictor other",
    "sample_type": "uniform weighted other",
    "normalize_type": "tree forest other",
    "rate_drop": "0 1 1.1",
    "one_drop": "0 1 2",
    "skip_drop": "0 1 1.1",
    "lambda_bias": "0 1 1.1",
    "tweedie_variance_power": "1 1.5 2",
    "num_class": "1 2",
    "base_score": "0 0.5 -1",
    "_kfold": "1",
    "_num_cv_round": "0 1",
    "_tuning_objective_metric": "validation:rmse validation:mse validation:nothing",
    "seed": "0 -2147483647 -2147483648 2147483646 2147483647 1.5",
    "num_parallel_tree": "1 2 0",
    "save_model_on_termination": "true false maybe",
    "aft_loss_distribution": "normal logistic extreme other",
    "aft_loss_distribution_scale": "1 0 -1",
    "deterministic_histogram": "true false maybe",
    "sampling_method": "uniform gradient_based other",
    "prob_buffer_row": "1 2",
    "use_dask_gpu_training": "false maybe",
    "nothing_of_the_kind": "1",
}
OBJECTIVES = (
    "binary:logistic binary:logitraw binary:hinge count:poisson multi:softmax multi:softprob "
    "rank:pairwise rank:ndcg rank:map reg:linear reg:squarederror reg:logistic reg:gamma "
    "reg:pseudohubererror reg:squaredlogerror reg:absoluteerror reg:tweedie survival:aft "
    "survival:cox reg:quantileerror other"
)
METRICS = {
    "reg:squarederror": "rmse rmsle mae mape mphe mse r2 auc accuracy nothing aft-nloglik error",
    "binary:logistic": "logloss error error@0.3 auc aucpr accuracy f1 precision error@x",
    "multi:softmax": "merror mlogloss accuracy f1_macro rmse auc precision",
    "multi:softprob": "merror mlogloss recall_macro rmse auc mlogloss,merror",
    "count:poisson": "poisson-nloglik rmse auc",
    "reg:tweedie": "tweedie-nloglik rmse auc tweedie-nloglik@1.3",
    "reg:gamma": "gamma-nloglik gamma-deviance rmse",
    "survival:cox": "cox-nloglik rmse",
    "survival:aft": "aft-nloglik interval-regression-accuracy",
    "rank:ndcg": "ndcg map ndcg@2 map@2 ndcg- map- auc",
}
PAIRS = (
    {"tree_method": "hist", "monotone_constraints": "(1,-1,0,0)"},
    {"tree_method": "exact", "monotone_constraints": "(1,-1,0,0)"},
    {"tree_method": "approx", "monotone_constraints": "(1,-1,0,0)"},
    {"monotone_constraints": "(1,-1,0,0)"},
    {"tree_method": "hist", "monotone_constraints": "(1,0,-1,2)"},
    {"tree_method": "hist", "monotone_constraints": "(1,-1,0)"},
    {"tree_method": "hist", "monotone_constraints": "(1,-1,0,0,0,0)"},
    {"tree_method": "hist", "monotone_constraints": "[1,-1,0,0]"},
    {"tree_method": "hist", "interaction_constraints": "[[0,1],[2,3]]"},
    {"tree_method": "hist", "interaction_constraints": "[[1,2],[3]]"},
    {"tree_method": "exact", "interaction_constraints": "[[1,2],[3]]"},
    {"interaction_constraints": "[[1,2],[3]]"},
    {"tree_method": "hist", "interaction_constraints": "[[1,2],[-3]]"},
    {"tree_method": "hist", "interaction_constraints": "[[1,99]]"},
    {"booster": "gblinear", "tree_method": "auto"},
    {"booster": "gblinear", "process_type": "default"},
    {"booster": "gblinear", "num_parallel_tree": "1"},
    {"booster": "gblinear", "updater": "shotgun"},
    {"booster": "gblinear", "updater": "coord_descent"},
    {"booster": "gblinear", "updater": "grow_colmaker"},
    {"booster": "gblinear", "early_stopping_rounds": "1"},
    {"booster": "gblinear", "max_depth": "6", "eta": "0.3", "gamma": "0"},
    {"booster": "dart", "rate_drop": "0.1", "skip_drop": "0.5", "one_drop": "1"},
    {"tree_method": "exact", "max_leaves": "0"},
    {"tree_method": "exact", "max_leaves": "4"},
    {"tree_method": "exact", "grow_policy": "depthwise"},
    {"tree_method": "exact", "grow_policy": "lossguide"},
    {"tree_method": "exact", "max_depth": "0"},
    {"tree_method": "exact", "colsample_bynode": "1"},
    {"tree_method": "exact", "sampling_method": "uniform"},
    {"tree_method": "hist", "grow_policy": "lossguide", "max_leaves": "4", "max_depth": "0"},
    {"process_type": "update", "updater": "refresh"},
    {"eta": "0.3", "learning_rate": "0.3"},
    {"objective": "binary:logistic", "num_class": "2"},
    {"objective": "multi:softmax"},
    {"objective": "binary:logistic", "base_score": "0"},
    {"objective": "binary:logistic", "base_score": "1"},
    {"objective": "binary:logistic", "base_score": "0.5"},
    {"device": "cpu"},
    {"max_cat_to_onehot": "4"},
    {"huber_slope": "1", "objective": "reg:pseudohubererror"},
    {"missing": "0"},
)


def choices() -> Iterator[Choice]:
    """Each hyperparameter at its default, at its bounds and beyond."""
    for name, values in VALUES.items():
        for value in values.split():
            yield Choice({name: value})
    for objective in OBJECTIVES.split():
        few = {"num_class": "3"} if objective.startswith("multi:") else {}
        yield Choice({"objective": objective, **few})
    for objective, metrics in METRICS.items():
        few = {"num_class": "3"} if objective.startswith("multi:") else {}
        for metric in metrics.split():
            yield Choice({"objective": objective, **few, "eval_metric": metric})
    yield from map(Choice, PAIRS)


def whole(choice: Choice) -> dict[str, str]:
    """Return a job's hyperparameters: those of the choice, and what every job needs."""
    base = {"num_round": "2", "objective": "reg:squarederror", "nthread": "1"}
    return {**base, **choice.given}


def target(choice: Choice) -> np.ndarray:
    """Return labels for the choice's objective."""
    return labels(choice.given.get("objective", "reg:squarederror"), SCORE)


def as_job(choice: Choice) -> Job:
    """Return the choice as a job on csv."""
    body = text(ROWS, target(choice)).encode()
    return Job(choice.id, whole(choice), {"train": Channel({"part-0": body})})


JOBS = [*jobs_of_formats(), *jobs_of_channels(), *jobs_of_metrics()]
CHOICES = list(dict.fromkeys(choice.id for choice in choices()))
CHOICES = [next(each for each in choices() if each.id == key) for key in CHOICES]
