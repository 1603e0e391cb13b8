"""The table of hyperparameters: every parameter of XGBoost 3.4 and of the built-in algorithm.

It is the single source for parsing, checking, `train --help` and the README's table.
Sources: https://xgboost.readthedocs.io/en/stable/parameter.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost_hyperparameters.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import custom
from runtime.parsers import Parser, flag, integer, matching, names, number, numbers, one_of, plain
from runtime.training import constraints
from runtime.training.metric_table import computed_here


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


OBJECTIVES = _words(
    "reg:squarederror reg:squaredlogerror reg:logistic reg:pseudohubererror reg:absoluteerror "
    "reg:quantileerror reg:expectileerror reg:gamma reg:tweedie reg:linear binary:logistic "
    "binary:logitraw binary:hinge multi:softmax multi:softprob count:poisson rank:pairwise "
    "rank:ndcg rank:map survival:cox survival:aft"
)


CUSTOM = "custom"


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter. `group` says who uses it: job, ignored, or a part of XGBoost."""

    group: str
    name: str
    parse: Parser
    default: object
    help: str
    aliases: tuple[str, ...] = ()


def _rows(group: str, *rows: tuple[object, ...]) -> list[Parameter]:
    return [Parameter(group, *row) for row in rows]  # type: ignore[arg-type]


UNIT, SHARE = number(0, 1), number(0, 1, above=True)
SIZE, POSITIVE = number(0), number(0, above=True)
INSIDE, POWER = (number(low, low + 1, above=True, below=True) for low in (0, 1))
TABLE = (
    _rows(
        "job",
        ("num_round", integer(1), None, "boosting rounds; required"),
        (
            "early_stopping_rounds",
            integer(1),
            None,
            "rounds without improvement before a stop",
        ),
        ("csv_weights", flag, 0, "column 1 of csv files holds row weights"),
        ("missing", number(), None, "value that means missing, besides empty and NaN"),
        ("enable_categorical", flag, 0, "columns of strings are categories, not faults"),
        (
            "categorical_features",
            names(r"\S.*"),
            None,
            "further categorical columns, by name or number from 0, whose numbers are codes",
        ),
        (
            "feature_types",
            names("q|c|int|float|i"),
            None,
            "types of all features, as XGBoost's: q, int, float, i, or c: categorical",
        ),
        ("label_names", names(r"\S[^,]*"), None, "names of the classes, in order"),
        ("external_memory", flag, 0, "train from disk, batch by batch; slower, bounded memory"),
        ("checkpoint_rounds", integer(0), 10, "rounds between checkpoints; 0 = by time alone"),
        ("checkpoint_seconds", number(0), 60, "seconds between checkpoints; 0 = by rounds alone"),
        ("save_model_on_termination", flag, 0, "save the model so far when the job is stopped"),
        ("_tuning_objective_metric", plain, None, "metric that a tuning job reads; evaluated last"),
        ("_kfold", integer(2), None, "cross-validation with this many folds"),
        ("_num_cv_round", integer(1), 1, "repeats of the cross-validation"),
    )
    + _rows(
        "general",
        ("booster", one_of("gbtree", "gblinear", "dart"), "gbtree", "kind of model"),
        (
            "device",
            matching(r"cpu|(cuda|gpu)(:\d+)?", "cpu, cuda or cuda:N"),
            "cpu",
            "cpu or cuda, cuda:0, ...",
        ),
        ("verbosity", integer(0, 3), 1, "0 silent to 3 debug"),
        ("nthread", integer(1), None, "threads; default: the usable CPUs", ("n_jobs",)),
        ("validate_parameters", flag, 1, "XGBoost's own check of names"),
        ("disable_default_eval_metric", flag, 0, "no metric unless eval_metric names one"),
    )
    + _rows(
        "tree",
        ("eta", UNIT, 0.3, "step size of a round", ("learning_rate",)),
        ("gamma", SIZE, 0, "least loss reduction of a split", ("min_split_loss",)),
        ("max_depth", integer(0), 6, "deepest tree; 0 = no limit"),
        ("min_child_weight", SIZE, 1, "least sum of hessians in a child"),
        ("max_delta_step", SIZE, 0, "bound of a leaf's value; 0 = none"),
        ("subsample", SHARE, 1, "share of rows for each tree"),
        ("sampling_method", one_of("uniform", "gradient_based"), "uniform", "how rows are drawn"),
        ("colsample_bytree", SHARE, 1, "share of columns for each tree"),
        ("colsample_bylevel", SHARE, 1, "share of columns for each level"),
        ("colsample_bynode", SHARE, 1, "share of columns for each split"),
        ("lambda", SIZE, 1, "L2 regularisation (gblinear: default 0)", ("reg_lambda",)),
        ("alpha", SIZE, 0, "L1 regularisation", ("reg_alpha",)),
        ("tree_method", one_of("auto", "exact", "approx", "hist", "gpu_hist"), "auto", "algorithm"),
        ("scale_pos_weight", POSITIVE, 1, "weight of positive rows"),
        ("updater", names(), None, "sequence of updaters; leave it to tree_method"),
        ("refresh_leaf", flag, 1, "the refresh updater renews leaves too"),
        ("process_type", one_of("default", "update"), "default", "grow trees, or update old ones"),
        ("grow_policy", one_of("depthwise", "lossguide"), "depthwise", "where to split next"),
        ("max_leaves", integer(0), 0, "most leaves; 0 = no limit"),
        ("max_bin", integer(2), 256, "histogram bins of a column"),
        ("num_parallel_tree", integer(1), 1, "trees in a round (random forest)"),
        ("monotone_constraints", constraints.MONOTONE, None, "direction of each column's effect"),
        (
            "interaction_constraints",
            constraints.INTERACTIONS,
            None,
            "columns that may interact",
        ),
        (
            "multi_strategy",
            one_of("one_output_per_tree", "multi_output_tree"),
            "one_output_per_tree",
            "trees of several outputs",
        ),
        ("max_cached_hist_node", integer(1), None, "histogram nodes kept in memory"),
        ("max_cat_to_onehot", integer(1), 4, "categories below which splits are one-hot"),
        ("max_cat_threshold", integer(1), 64, "most categories of a split"),
        ("sparse_threshold", UNIT, 0.2, "density below which a column is stored sparse"),
        ("debug_synchronize", flag, 0, "check that all hosts hold the same tree"),
    )
    + _rows(
        "dart",
        ("sample_type", one_of("uniform", "weighted"), "uniform", "how dropped trees are drawn"),
        ("normalize_type", one_of("tree", "forest"), "tree", "weight of a new tree"),
        ("rate_drop", UNIT, 0, "share of trees dropped"),
        ("one_drop", flag, 0, "always drop one tree or more"),
        ("skip_drop", UNIT, 0, "chance of a round without drops"),
    )
    + _rows(
        "gblinear",
        (
            "feature_selector",
            one_of("cyclic", "shuffle", "random", "greedy", "thrifty"),
            "cyclic",
            "order of coordinates",
        ),
        ("top_k", integer(0), 0, "coordinates taken by greedy and thrifty; 0 = all"),
    )
    + _rows(
        "learning",
        (
            "objective",
            one_of(*OBJECTIVES, CUSTOM),
            "from num_classes",
            "loss that training minimises; custom: that of program/custom.py",
        ),
        ("num_class", integer(2), None, "classes of a multi: objective"),
        ("base_score", number(), None, "first prediction; default: estimated"),
        ("eval_metric", names(), "of the objective", "metrics, printed every round"),
        ("seed", integer(-(2**31), 2**31 - 1), 0, "of every random choice", ("random_state",)),
        ("seed_per_iteration", flag, 0, "seed every round by its number"),
    )
    + _rows(
        "objective",
        (
            "tweedie_variance_power",
            number(1, 2, above=True, below=True),
            1.5,
            "reg:tweedie: 1 poisson, 2 gamma",
        ),
        ("huber_slope", POSITIVE, 1, "reg:pseudohubererror: delta"),
        ("quantile_alpha", numbers(0, 1), None, "reg:quantileerror: quantiles"),
        ("expectile_alpha", numbers(0, 1), None, "reg:expectileerror: expectiles"),
        (
            "aft_loss_distribution",
            one_of("normal", "logistic", "extreme"),
            "normal",
            "survival:aft",
        ),
        (
            "aft_loss_distribution_scale",
            number(0, above=True),
            1,
            "survival:aft: scale of the distribution",
        ),
        ("lambdarank_pair_method", one_of("mean", "topk"), "topk", "rank:*: how pairs are made"),
        ("lambdarank_num_pair_per_sample", integer(1), None, "rank:*: pairs of a document"),
        ("lambdarank_normalization", flag, 1, "rank:*: normalise the gradient of a query"),
        ("lambdarank_score_normalization", flag, 1, "rank:*: normalise by score difference"),
        ("lambdarank_unbiased", flag, 0, "rank:*: correct for the bias of position"),
        ("lambdarank_bias_norm", SIZE, 2, "rank:*: norm of that correction"),
        ("ndcg_exp_gain", flag, 1, "rank:ndcg: gain 2**label - 1"),
    )
    + _rows(
        "ignored",
        ("sketch_eps", INSIDE, None, "use max_bin"),
        ("predictor", one_of("auto", "cpu_predictor", "gpu_predictor"), None, "use device"),
        ("dsplit", one_of("row", "col"), None, "rows are split by host"),
        ("lambda_bias", UNIT, None, "gone since XGBoost 1.0"),
        ("single_precision_histogram", flag, None, "gone since XGBoost 1.6"),
        ("deterministic_histogram", flag, None, "histograms are always deterministic"),
        ("prob_buffer_row", number(1, above=True), None, "gone since XGBoost 1.6"),
        ("use_dask_gpu_training", flag, None, "use device=cuda"),
    )
)
BY_NAME = {name: row for row in TABLE for name in (row.name, *row.aliases)}


DEFAULTS = {row.name: row.default for row in TABLE}
GROUPS = {row.name: row.group for row in TABLE}


@dataclass(frozen=True)
class Hyperparameters:
    """What a job asks for: `given` holds typed values by canonical name."""

    given: dict[str, Any]
    constraints: dict[str, str] = field(default_factory=dict)  # by column number, once known
    feature_types: tuple[str, ...] | None = None  # of the model's columns, once known
    own_objective: bool = False  # custom.objective; `objective` is then that of its link

    def __getitem__(self, name: str) -> Any:
        """Return the given value, or the table's default."""
        return self.given.get(name, DEFAULTS[name])

    def differs(self, name: str) -> bool:
        """Return whether the value is another than the default: tuning jobs send full sets."""
        return bool(self[name] != DEFAULTS[name])

    @property
    def objective(self) -> str:
        return str(self["objective"])

    @property
    def metrics(self) -> list[str]:
        """The metrics asked for, or all of custom.py; the one that a tuning job reads is last."""
        tuned = (self.given.get("_tuning_objective_metric") or "").split(":")[-1]
        default = [metric.name for metric in custom.metrics]
        asked = [name for name in self.given.get("eval_metric", default) if name != tuned]
        names = dict.fromkeys([*asked, tuned] if tuned else asked)
        power = f"@{self['tweedie_variance_power']:g}"  # XGBoost refuses this metric without it
        return [name + power * (name == "tweedie-nloglik") for name in names]

    @property
    def histogram(self) -> bool:
        """Whether trees are grown from histograms, which a quantile matrix serves."""
        plain = self["booster"] != "gblinear" and "updater" not in self.given
        return plain and self["tree_method"] in {"auto", "hist"}

    def for_xgboost(self) -> dict[str, Any]:
        """Return the parameters that XGBoost itself takes.

        Without a metric of its own XGBoost evaluates the objective's default one, as the built-in
        algorithm does beside the metrics that it computes itself.
        """
        names = [name for name in self.given if GROUPS[name] not in {"job", "ignored"}]
        values = {name: self.given[name] for name in names if name != "eval_metric"}
        values = {k: int(v) if isinstance(v, bool) else v for k, v in values.items()}
        own = [name for name in self.metrics if not computed_here(name)]
        if own:
            values["eval_metric"] = own
        if "updater" in values:
            values["updater"] = ",".join(values["updater"])
        return values | self.constraints


def markdown() -> str:
    """Return the table in Markdown, for the README."""
    lines = ["| name | values | default | meaning |", "|---|---|---|---|"]
    for row in TABLE:
        name = ", ".join(f"`{name}`" for name in (row.name, *row.aliases))
        default = "" if row.default is None else str(row.default)
        meaning = row.help if row.group != "ignored" else f"accepted, no effect: {row.help}"
        lines.append(f"| {name} | {row.parse.form} | {default} | {meaning} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
