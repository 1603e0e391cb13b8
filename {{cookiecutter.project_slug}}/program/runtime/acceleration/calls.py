"""Into which calls of oneDAL a batch of rows is cut, by what calls of some sizes take.

oneDAL works in blocks of rows; those beyond the last whole block cost 2 to 4 times as much each. A
block has 80 rows on AMD's processors. On Intel's it grows with the batch, from 32 rows to 80, or to
256 where the trees do not fit into the second-level cache. So a batch is handed over in calls that
leave no rows beyond, and the last call is padded with rows of zeros where that takes less time.
"""

from __future__ import annotations

from collections.abc import Mapping

STEP = 16  # rows: every block is a multiple
WHOLE = 1280  # rows that are whole blocks, whatever their size
PIECE_SECONDS = 3e-6  # to cut a piece out of a batch, and to join its answer to the others

Plan = tuple[float, tuple[int, ...]]  # seconds, rows of each call


class Calls:
    """The calls for each number of rows; together they take at least as many rows."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        """Take the seconds of a call by its rows: of 1, of STEP, and of some multiples of STEP."""
        self._first = seconds[1]
        self._beyond = max(seconds[STEP] - self._first, 0.0) / (STEP - 1)  # a row in no block
        self._seconds = {rows: taken for rows, taken in seconds.items() if not rows % STEP}
        self._plans: dict[int, Plan] = {0: (0.0, ())}

    def __call__(self, count: int) -> tuple[int, ...]:
        """Return how many rows each call takes, the last one with padding if they are more."""
        if count < WHOLE:
            return self._plan(count)[1]
        return (count - count % WHOLE, *self._plan(count % WHOLE)[1])

    def gain(self, count: int) -> float:
        """Return the time of one call for `count` rows over that of the calls; 0.0: unknown."""
        return self._alone(count) / self._plan(count)[0] if self._is_known(count) else 0.0

    def _is_known(self, count: int) -> bool:
        return count < STEP or count - count % STEP in self._seconds

    def _alone(self, count: int) -> float:
        """Return the seconds of one call: those beyond a multiple of STEP are in no block."""
        if count < STEP:
            return self._first + (count - 1) * self._beyond
        return self._seconds[count - count % STEP] + count % STEP * self._beyond

    def _plan(self, count: int) -> Plan:
        """Return the fastest calls for `count` rows, less than WHOLE."""
        if count in self._plans:
            return self._plans[count]
        plans: list[Plan] = [(self._alone(count), (count,))] if self._is_known(count) else []
        for rows, seconds in self._seconds.items():
            if rows >= count:
                plans.append((seconds + PIECE_SECONDS * (rows > count), (rows,)))
            else:
                rest, calls = self._plan(count - rows)
                plans.append((seconds + PIECE_SECONDS + rest, (rows, *calls)))
        self._plans[count] = min(plans)
        return self._plans[count]
