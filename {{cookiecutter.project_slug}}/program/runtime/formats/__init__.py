"""One module a media type: files and bodies to arrays, arrays to bodies.

`decode` reads a request, `encode` writes an answer, `read_channel` reads training files; `media`
has the table of formats.
"""

from __future__ import annotations

import logging

from runtime.imports import import_scipy

import_scipy()  # before the modules below import it, and all of numpy with it

from runtime.formats import sniff  # noqa: E402
from runtime.formats.answers import Column, Columns, Outputs, encode  # noqa: E402
from runtime.formats.categories import Categories, Unseen  # noqa: E402
from runtime.formats.errors import ColumnsError, DecodeError, FormatError, printable  # noqa: E402
from runtime.formats.files import iterate_channel, read_channel  # noqa: E402
from runtime.formats.media import negotiate, resolve  # noqa: E402
from runtime.formats.table import Rows, Schema, Table, blank  # noqa: E402

__all__ = [
    "Categories",
    "Column",
    "Columns",
    "Outputs",
    "Rows",
    "Schema",
    "Table",
    "Unseen",
    "decode",
    "encode",
    "iterate_channel",
    "negotiate",
    "read_channel",
    "resolve",
]


log = logging.getLogger(__name__)


def decode(body: bytes, content_type: str | None, schema: Schema, default_format: str) -> Rows:
    """Return the rows of a request in the order of the model's columns, and under their names.

    An empty body has no rows. Raises MediaTypeError, DecodeError (with the row and column where
    one is at fault) or ColumnsError (the rows do not have the model's columns), and nothing else:
    whatever a decoder did not foresee is the body's fault too.
    """
    codec, charset = resolve(content_type, default_format)
    try:
        if charset not in {"utf-8", "ascii"}:
            body = body.decode(charset).encode()
        rows = codec.decode(body, schema) if body else Rows.none(schema.num_features)
    except (DecodeError, UnicodeDecodeError) as error:
        fault = loading_failed(error, codec.name, content_type)
        fault.message += sniff.hint(body, codec.name)
        raise fault from None
    except FormatError as error:
        error.message = error.located()
        raise
    except Exception as error:
        log.exception("unexpected while decoding %s", codec.name)
        message = f"{type(error).__name__}: {error}"
        raise loading_failed(DecodeError(message), codec.name, content_type) from error
    found = rows.values.shape[1]
    if found < schema.num_features and schema.pad_short_rows:
        padded = blank(len(rows.values), schema)
        padded[:, :found] = rows.values
        return Rows(padded, schema.feature_names, rows.unseen)
    if found != schema.num_features:
        raise ColumnsError(
            f"the rows have {found} columns, the model has {schema.num_features}",
            expected=schema.num_features,
            found=found,
        )
    if rows.names is schema.feature_names:
        return rows
    return Rows(rows.values, schema.feature_names, rows.unseen)


def loading_failed(
    error: DecodeError | UnicodeDecodeError, name: str, content_type: str | None
) -> DecodeError:
    """Return the fault in the words of the built-in algorithm, which clients match."""
    fault = error if isinstance(error, DecodeError) else DecodeError(str(error))
    fault.message = (
        f"Loading {name} data failed with Exception, please ensure data is in {name} format: "
        f"{fault.located()}"
    )
    fault.content_type = printable(content_type) if content_type else None
    return fault
