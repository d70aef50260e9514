"""Work on many rows, batch by batch, in as many processes as there are cores once there is much of it."""
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator

import joblib
from tqdm import tqdm

BATCH = 1000  # rows
FEW = 50  # batches that a second process would not be started for


def cores() -> int:
    """Cores that this process may use: what OMP_NUM_THREADS says, else all there are."""
    return int(os.environ.get("OMP_NUM_THREADS") or joblib.cpu_count())


def batches(function: Callable[[list], object], rows: Iterable, title: str) -> Iterator:
    """`function` of each BATCH of rows, in their order, with a bar where there is much to do.

    The function may run in another process: it is of a module or a `functools.partial` of one.
    """
    rows = iter(rows)
    parts = iter(lambda: list(itertools.islice(rows, BATCH)), [])
    first = list(itertools.islice(parts, FEW))
    parts = itertools.chain(first, parts)
    if len(first) < FEW or cores() == 1:
        return map(function, parts)
    shown = tqdm(parts, title, unit=f" × {BATCH} rows", disable=None)
    return joblib.Parallel(cores(), return_as="generator", batch_size=1)(joblib.delayed(function)(part) for part in shown)


def each(function: Callable, rows: Iterable, title: str) -> Iterator:
    """`function` of each row, in their order, by `batches`."""
    return itertools.chain.from_iterable(batches(functools.partial(_each, function), rows, title))


def _each(function: Callable, rows: list) -> list:
    return list(map(function, rows))
