"""The stack of an endpoint, as tests read it."""

from __future__ import annotations

from typing import Any

import yaml

from locations import PROJECT

TEMPLATE = PROJECT / "deploy/pipeline/endpoint.yaml"


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the value that they hold."""


def _value(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


Loader.add_multi_constructor("!", _value)


def stack() -> dict[str, Any]:
    """Return the template of the stack."""
    return dict(yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader))
