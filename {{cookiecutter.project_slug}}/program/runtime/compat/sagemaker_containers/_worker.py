"""The response that `output_fn` and `transform_fn` may return."""

from __future__ import annotations

from typing import Any

import flask

from . import _content_types as content_types


class Response(flask.Response):
    """Flask's response, JSON unless it says otherwise. `accept` is accepted and has no effect."""

    default_mimetype = content_types.JSON

    def __init__(
        self,
        response: Any = None,
        accept: str | None = None,
        status: int = 200,
        headers: Any = None,
        mimetype: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        super().__init__(response, status, headers, mimetype, None, direct_passthrough)
