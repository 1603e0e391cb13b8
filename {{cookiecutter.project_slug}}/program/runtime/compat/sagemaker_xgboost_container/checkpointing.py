"""Checkpoints of a program's own training, in the built-in container's files.

`xgboost-checkpoint.N` is the model after round N, counted over all runs; the newest five are kept.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import xgboost
from xgboost.callback import EvaluationMonitor, TrainingCallback

CHECKPOINT_FILENAME = "xgboost-checkpoint"
NAME = re.compile(rf"{CHECKPOINT_FILENAME}\.(\d+)")
KEPT = 5
UPLOADING, UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"  # SageMaker's own marks


def _found(folder: str) -> dict[int, Path]:
    """Return the checkpoints by round, oldest first."""
    paths = Path(folder).iterdir() if folder and Path(folder).is_dir() else []
    matches = {path: NAME.fullmatch(path.name) for path in paths}
    return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))


def load_checkpoint(checkpoint_dir: str, max_try: int = KEPT) -> tuple[str | None, int]:
    """Return the newest checkpoint that XGBoost can read, and how many rounds it has.

    (None, 0) without one; at most `max_try` are tried.
    """
    for number, path in list(reversed(_found(checkpoint_dir).items()))[:max_try]:
        try:
            xgboost.Booster(model_file=str(path))
        except xgboost.core.XGBoostError:
            continue
        return str(path), number + 1
    return None, 0


def train(train_args: dict[str, Any], checkpoint_dir: str) -> xgboost.Booster:
    """Call `xgboost.train(**train_args)` so that it continues where a stopped run ended."""
    model, start = load_checkpoint(checkpoint_dir)
    rounds = train_args.get("num_boost_round", 10) - start
    callbacks = [
        *(train_args.get("callbacks") or []),
        print_checkpointed_evaluation(rounds, start_iteration=start),
        save_checkpoint(checkpoint_dir, start_iteration=start, end_iteration=rounds),
    ]
    changed = {"num_boost_round": rounds, "xgb_model": model, "callbacks": callbacks}
    booster: xgboost.Booster = xgboost.train(**{**train_args, **changed, "verbose_eval": False})
    return booster


class SaveCheckpointCallBack(TrainingCallback):
    """Save the model after each round; delete old files, but none that SageMaker is uploading."""

    def __init__(
        self,
        checkpoint_dir: str,
        start_iteration: int = 0,
        max_to_keep: int = KEPT,
        num_round: int | None = None,
        rank: int = 0,
        iteration: int = 0,
        end_iteration: int | None = None,
    ) -> None:
        self.folder, self.kept, self.rank = Path(checkpoint_dir), max_to_keep, rank
        self.folder.mkdir(parents=True, exist_ok=True)
        self.previous = set(_found(checkpoint_dir))  # of earlier runs: left alone
        self.start = max(self.previous, default=start_iteration - 1) + 1

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Save one round."""
        if self.rank == 0:
            path = self.folder / f"{CHECKPOINT_FILENAME}.{self.start + epoch}"
            partial = self.folder / f"{path.name}.sagemaker-ignore"
            partial.write_bytes(model.save_raw("ubj"))
            partial.replace(path)
            self._delete(uploading_too=False)
        return False

    def after_training(self, model: Any) -> Any:
        """Delete what could not be deleted before."""
        self._delete(uploading_too=True)
        return model

    def _delete(self, *, uploading_too: bool) -> None:
        mine = [path for number, path in _found(str(self.folder)).items() if number >= self.start]
        for path in mine[: -self.kept]:
            marks = [Path(f"{path}{mark}").is_file() for mark in (UPLOADING, UPLOADED)]
            if uploading_too or marks != [True, False]:
                path.unlink(missing_ok=True)


class PrintCheckpoint(TrainingCallback):
    """Print metrics under the number that a round has over all runs."""

    def __init__(
        self,
        end_iteration: int,
        iteration: int = 0,
        rank: int = 0,
        period: int = 1,
        show_stdv: bool = True,
        start_iteration: int = 0,
    ) -> None:
        self.start = start_iteration
        self._monitor = EvaluationMonitor(rank, period, show_stdv)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Print one round."""
        self._monitor.after_iteration(model, self.start + epoch, evals_log)
        return False


class SaveIntermediateModelCallBack(TrainingCallback):
    """Write the model of each round over the one before, for a job that may be stopped."""

    def __init__(
        self, intermediate_model_dir: str, model_name: str, is_master: bool = True
    ) -> None:
        self.path, self.is_master = Path(intermediate_model_dir) / model_name, is_master
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Write one model."""
        if self.is_master:
            partial = self.path.with_name(f".{self.path.name}")
            partial.write_bytes(model.save_raw("ubj"))
            partial.replace(self.path)
        return False


print_checkpointed_evaluation = PrintCheckpoint
save_checkpoint = SaveCheckpointCallBack
save_intermediate_model = SaveIntermediateModelCallBack
