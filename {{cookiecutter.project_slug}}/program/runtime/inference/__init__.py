"""One request, from bytes to bytes: decode, predict, select, encode; and the models behind it."""
