"""Work on many rows, batch by batch, in as many processes as there are cores once there is much of it."""
import itertools
import os
from collections.abc import Callable, Iterable, Iterator

import joblib
from tqdm import tqdm

from lib.engine import machine

BATCH = 1000  # rows
FEW = 5000  # rows that a second process is not started for


def cores() -> int:
    """Cores that this process may use: what OMP_NUM_THREADS says, else all there are."""
    return int(os.environ.get("OMP_NUM_THREADS") or joblib.cpu_count())


def batches(function: Callable[[list], object], rows: Iterable, title: str, size: int | None = None) -> Iterator:
    """`function` of each `size` (BATCH) of rows, in their order, with a bar where there is much to do.

    The function may run in another process: it is of a module or a `functools.partial` of one.
    """
    rows, size = iter(rows), size or BATCH
    parts = iter(lambda: list(itertools.islice(rows, size)), [])
    yield from map(function, itertools.islice(parts, FEW // size))
    if cores() == 1 or (part := next(parts, None)) is None:
        yield from map(function, parts)
        return
    parts = tqdm(itertools.chain([part], parts), title, unit=f" × {size} rows", disable=None)
    yield from joblib.Parallel(cores(), return_as="generator", batch_size=1)(joblib.delayed(function)(part) for part in parts)
    machine.trim()
