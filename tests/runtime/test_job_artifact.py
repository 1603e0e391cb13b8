"""The manifest: what training writes is what serving reads, whichever image wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.job import artifact
from runtime.job.artifact import Manifest, read_manifest
from runtime.job.failures import UserError


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    manifest = Manifest(
        feature_names=("a", "b"),
        label_names=("no", "yes"),
        num_classes=2,
        objective="binary:logistic",
        index_base=1,
        missing=-999.0,
        hyperparameters={"eta": 0.3},
        metrics={"validation-auc": 0.9},
    )
    manifest.save(tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_a_model_without_a_manifest_has_the_defaults(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == Manifest()


def test_only_the_model_has_model_in_its_name() -> None:
    others = (artifact.MANIFEST_FILE, artifact.PARITY_FILE, artifact.PROBE_FILE)
    assert "model" in artifact.MODEL_FILE
    assert not [name for name in others if "model" in name]


def test_keys_of_a_later_release_within_the_schema_are_ignored(tmp_path: Path) -> None:
    document = {"schema_version": artifact.SCHEMA_VERSION, "objective": "x", "new_key": 1}
    (tmp_path / artifact.MANIFEST_FILE).write_text(json.dumps(document))
    assert read_manifest(tmp_path).objective == "x"


def test_a_newer_schema_is_refused_with_the_way_out(tmp_path: Path) -> None:
    document = {"schema_version": artifact.SCHEMA_VERSION + 1}
    (tmp_path / artifact.MANIFEST_FILE).write_text(json.dumps(document))
    with pytest.raises(UserError, match="serve it with the image that trained it"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": "x"}', '{"schema_version": null}'])
def test_what_is_no_manifest_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / artifact.MANIFEST_FILE).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is not a valid manifest"):
        read_manifest(tmp_path)
