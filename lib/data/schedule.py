"""A mixture that changes in training: shares of streams (languages, sources) over the tokens seen, laid out in blocks.

A *plan* names the stream of every block. It rests on nothing but the shares: no draw, no worker and no process changes
it, and a run that goes on in the middle reads on where it was, since the order is in the data set itself.
"""
from collections import Counter
from typing import NamedTuple

import datasets
import numpy
import pandas

WINDOW = 100  # blocks over which a plan keeps to its shares
KINDS = ("stepwise", "ramp")
Shares = dict[str, float]


class Schedule(NamedTuple):
    """Shares at points of progress (0: before the first token, 1: after the last), joined by lines or kept to the next."""

    points: list[tuple[float, Shares]]
    joined: bool

    @property
    def streams(self) -> list[str]:
        """Names of all streams, in the order of their first mention."""
        return list(dict.fromkeys(name for _, shares in self.points for name in shares))

    def shares(self, blocks: int) -> pandas.DataFrame:
        """Planned shares of every block (at its middle) of `blocks` equal ones, a column a stream; rows add up to 1."""
        starts = numpy.array([at for at, _ in self.points])
        values = numpy.array([[shares.get(name, 0.0) for name in self.streams] for _, shares in self.points])
        middles = (numpy.arange(blocks) + 0.5) / blocks
        if self.joined:
            found = numpy.stack([numpy.interp(middles, starts, column) for column in values.T], 1)
        else:
            found = values[numpy.searchsorted(starts, middles, side="right") - 1]
        return pandas.DataFrame(found, columns=self.streams)


def constant(shares: Shares) -> Schedule:
    """The same shares from the first token to the last. Raises ValueError where they do not add up to 1."""
    return _checked(Schedule([(0.0, shares)], joined=False))


def named(kind: str, levels: list[float], boundaries: list[float], division: Shares) -> Schedule:
    """A schedule from plain values: `levels` are the shares of all streams in `division` together, `en` has the rest.

    `stepwise` changes levels at the boundaries (one level more than boundaries); `ramp` goes straight from level to level, at
    0, the boundaries and 1 (two more). PolyLM (arXiv 2307.06018) is stepwise, 0.3 and 0.6 with the boundary at 541 of 638
    billion tokens. Raises ValueError for another number of levels, and as `constant`.
    """
    if kind not in KINDS:
        raise ValueError(f"Schedule {kind!r} is unknown: choose one of {', '.join(KINDS)}.")
    starts = [0.0, *boundaries, *([1.0] if kind == "ramp" else [])]
    if len(levels) != len(starts):
        raise ValueError(f"A {kind} schedule with boundaries {boundaries} needs {len(starts)} levels, and there are "
                         f"{len(levels)}: {levels}.")
    points = [(at, {"en": 1 - level, **{name: level * share for name, share in division.items()}})
              for at, level in zip(starts, levels)]
    return _checked(Schedule(points, joined=kind == "ramp"))


def mirrored(schedule: Schedule) -> Schedule:
    """The schedule read from its end: what came last comes first."""
    ends = [at for at, _ in schedule.points] if schedule.joined else [*(at for at, _ in schedule.points[1:]), 1.0]
    points = [(1 - at, shares) for at, (_, shares) in zip(ends, schedule.points)]
    return _checked(Schedule(points[::-1], schedule.joined))


def temperature(sizes: dict[str, float], heat: float) -> Shares:
    """Shares ∝ size^(1/heat): 1 is as available, more is more even (Conneau et al. 2020, arXiv 1911.02116)."""
    if heat < 1 or not sizes or min(sizes.values()) <= 0:
        raise ValueError(f"Temperature sampling needs sizes above 0 and a temperature of 1 or more, got {heat} and "
                         f"{sizes}: leave empty streams out.")
    weights = {name: size ** (1 / heat) for name, size in sizes.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def plan(schedule: Schedule, blocks: int) -> list[str]:
    """The stream of each of `blocks` blocks: whichever is furthest behind its planned shares, over all and lately.

    In every window of WINDOW blocks a stream of constant shares has within one block of its planned number (±1 %);
    over a sudden change a window may be off by two. Planned numbers that are whole are met exactly at the end.
    """
    shares, order = schedule.shares(blocks).to_numpy(), []
    behind, lately = numpy.zeros(shares.shape[1]), numpy.zeros(shares.shape[1])
    for place, wanted in enumerate(shares):
        behind, lately = behind + wanted, lately + wanted
        if place >= WINDOW:
            lately = lately - shares[place - WINDOW]
            lately[order[place - WINDOW]] += 1
        order.append(_next(behind, lately))
        behind[order[-1]] -= 1
        lately[order[-1]] -= 1
    totals = shares.sum(0)
    if numpy.allclose(totals, totals.round(), atol=1e-6):
        order = _settled(order, totals.round().astype(int))
    return [schedule.streams[number] for number in order]


def arrange(streams: dict[str, datasets.Dataset], plan: list[str]) -> datasets.Dataset:
    """Blocks of all streams in the plan's order; one that runs out is read again, as is said. ValueError for an empty one."""
    # interleave_datasets draws the stream of each row at random, so its shares hold on average only; the plan is exact,
    # and as a selection of rows it is the same for any number of workers and processes.
    names, wanted = list(streams), Counter(plan)
    if missing := [name for name in wanted if not len(streams.get(name, ()))]:
        raise ValueError(f"Streams {', '.join(missing)} are planned and have no block: give them text, or no share.")
    starts = dict(zip(names, numpy.cumsum([0, *(len(streams[name]) for name in names)])))
    for name, count in wanted.items():
        if count > len(streams[name]):
            print(f"Stream {name} has {len(streams[name])} blocks and is read {count / len(streams[name]):.1f} times.")
    seen, rows = Counter(), []
    for name in plan:
        rows.append(int(starts[name]) + seen[name] % len(streams[name]))
        seen[name] += 1
    return datasets.concatenate_datasets([streams[name] for name in names]).select(rows)


def realised(plan: list[str], schedule: Schedule, window: int) -> pandas.DataFrame:
    """Shares in each `window` of blocks: blocks (seen up to its end), stream, planned, realised."""
    wanted = schedule.shares(len(plan))
    found = pandas.DataFrame({name: [float(name == stream) for stream in plan] for name in schedule.streams})
    spans = [(start, min(start + window, len(plan))) for start in range(0, len(plan), window)]
    return pandas.DataFrame([{"blocks": end, "stream": name, "planned": wanted[name][start:end].mean(),
                              "realised": found[name][start:end].mean()}
                             for start, end in spans for name in schedule.streams])


def _next(behind, lately) -> int:
    """The stream furthest behind, among those that the window lets (or makes) follow."""
    due, allowed = lately > 1 + 1e-9, lately > -1e-9
    if due.any():
        return int(numpy.where(due, lately, -numpy.inf).argmax())
    return int(numpy.where(allowed, behind + lately, -numpy.inf).argmax())


def _settled(order: list[int], totals) -> list[int]:
    """The order with its last surplus blocks given to streams that are short of their totals."""
    over = Counter(order)
    over.subtract(dict(enumerate(totals)))
    short = [number for number, count in sorted(over.items()) for _ in range(-count)]
    for place in range(len(order) - 1, -1, -1):
        if short and over[order[place]] > 0:
            over[order[place]] -= 1
            order[place] = short.pop()
    return order


def _checked(schedule: Schedule) -> Schedule:
    starts = [at for at, _ in schedule.points]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] > 1:
        raise ValueError(f"Points of progress {starts} have to rise from 0 to at most 1: correct the boundaries.")
    for at, shares in schedule.points:
        if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < -1e-12:
            raise ValueError(f"Shares at {at:g} are {shares} and add up to {sum(shares.values()):.3f}: they have to be "
                             "0 or more, and 1 together.")
    return schedule
