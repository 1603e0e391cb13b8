"""The dashboard and the alarm on drift: they ask for metrics that the server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from deploy_stack import stack
from locations import PROJECT
from runtime.inference import monitor

DASHBOARD = json.loads((PROJECT / "deploy/dashboard.json").read_text(encoding="utf-8"))
ENDPOINT = "aws.sagemaker.endpoint.name"  # what SageMaker adds to every metric that it scrapes
SUFFIXES = {"histogram": ("_bucket", ""), "counter": ("",), "gauge": ("",)}


def queries() -> Iterator[str]:
    """Return the queries of the dashboard, and of the alarm."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")
    yield alarm()["EvaluationCriteria"]["PromQLCriteria"]["Query"]


def alarm() -> dict[str, Any]:
    """Return the properties of the alarm on drift; CloudFormation's tags as what they hold."""
    return dict(stack()["Resources"]["DataDrift"]["Properties"])


def selected(query: str) -> set[str]:
    """Return the names of the metrics that a query reads."""
    return set(re.findall(r"(\w+)\{", query))


def labels(query: str) -> set[str]:
    """Return the labels that a query selects or groups by."""
    grouped = re.findall(r"by \(([^)]*)\)", query)
    return {*re.findall(r'"([\w.]+)"=', query), *", ".join(grouped).split(", ")} - {"", ENDPOINT}


def test_every_query_reads_metrics_and_labels_that_the_server_has() -> None:
    known = {
        family.name + suffix: {*family.labels, "le"}
        for family in monitor.families()
        for suffix in SUFFIXES[family.type]
    }
    for query in queries():
        assert selected(query)
        for name in selected(query):
            assert name in known, query
            assert labels(query) <= known[name], query
        assert query.count(f'"{ENDPOINT}"=') == len(re.findall(r"\w\{", query)), query


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name.removesuffix("_bucket") for query in queries() for name in selected(query)}
    assert shown == {family.name for family in monitor.families()}


def test_every_query_is_promql() -> None:
    parser = pytest.importorskip("promql_parser")
    for query in queries():
        parser.parse(query)


def test_panels_have_names_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"]
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_alarm_is_a_valid_request_of_cloudwatch() -> None:
    client = boto3.client("cloudwatch", region_name="eu-west-1")
    shape = client.meta.service_model.operation_model("PutMetricAlarm").input_shape
    given = {"AlarmName": "x", **alarm(), "AlarmActions": ["x"]}
    assert ParamValidator().validate(given, shape).generate_report() == ""
