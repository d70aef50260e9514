"""The one way to count: scores of a study's rows with seeds pooled, and differences of two sides paired by item.

Rows are those of one or more runs, with a column `item`, and `seed` where a model was trained more than once. Trainings and
items are both samples: an interval over items alone would take the luck of a seed for an effect. Items are drawn again (the
bootstrap), and what the few trainings differ by is added as Student's t (`statistics`).
"""
import itertools
import math
from typing import Callable, NamedTuple

import numpy
import pandas
from sacrebleu.metrics import BLEU, CHRF

from lib.engine import statistics
from lib.evaluate import scoring


class Score(NamedTuple):
    """How rows become a number of a `unit`: `columns` gives each row's statistics, and `function` maps their sums.

    `function` takes an array [statistics, draws]; None is the mean of the first statistic, each item weighing alike.
    `over` names a column (languages) whose values are scored apart and averaged. `metric` is that of a corpus score.
    """

    unit: str
    columns: Callable
    function: Callable | None = None
    over: str | None = None
    metric: object = None


def mean(column: str, over: str | None = None) -> Score:
    """The share of right answers in a column, or the mean of values such as F1."""
    return Score("share", lambda rows: rows[[column]].astype(float).assign(answers=1), over=over)


def ratio(above: str, below: str, unit: str, over: str | None = None) -> Score:
    """Σ of a column over Σ of another, e.g. bits over bytes."""
    return Score(unit, lambda rows: rows[[above, below]].astype(float), lambda sums: sums[0] / sums[1], over)


def corpus(unit: str, metric) -> Score:
    """A corpus score of sacrebleu's `metric` from columns hypothesis and reference."""
    return Score(unit, lambda rows: scoring.corpus_counts(metric, rows["hypothesis"], rows["reference"]).T,
                 scoring.of_counts(metric), None, metric)


BOUNDS = {"share": (0.0, 1.0), "chrF++": (0.0, 100.0), "BLEU": (0.0, 100.0)}  # of a unit, which no interval leaves
BITS = ratio("bits", "bytes", "bits/byte")
CORRECT, INVALID = mean("correct"), mean("invalid")
MARGIN = mean("margin")._replace(unit="bits/byte")  # of the right option over the others, `harness.score`
CHRF_PLUS = corpus("chrF++", CHRF(word_order=2))  # Popović 2017
BLEU_INTL = corpus("BLEU", BLEU(tokenize="intl"))  # the tokenizer parts Persian punctuation as well as English


def known(rows: pandas.DataFrame, column: str | None) -> pandas.DataFrame:
    """The rows that have a value in a column: none where the column lacks, all where no column is named."""
    return rows if column is None else rows[rows[column].notna()] if column in rows else rows[:0]


def estimate(rows: pandas.DataFrame, score: Score) -> statistics.Estimate:
    """The score of rows, all their runs pooled: n is the number of items, `trainings` that of seeds.

    Right and wrong answers of one run get Wilson's interval. Raises ValueError for no rows, or when a seed lacks an item.
    """
    function, _, _, columns = _table(rows, score)
    if score.function:
        found = statistics.of_sums(function, columns)
    elif len(columns) == 1 and numpy.isin(columns, (0, 1)).all():
        found = statistics.wilson(int(columns.sum()), columns.size)
    else:
        found = statistics.mean(columns)
    least, most = BOUNDS.get(score.unit, (-numpy.inf, numpy.inf))
    return found._replace(low=max(found.low, least), high=min(found.high, most))


def difference(before: pandas.DataFrame, after: pandas.DataFrame, score: Score) -> statistics.Difference:
    """The score of `after` − `before`, both over the same items and seeds, which are drawn together.

    A side of one run, such as an untrained model, stands beside every seed of the other. Raises ValueError when items or
    seeds differ, since no other pairing is meant.
    """
    function, seeds, items, a = _table(before, score)
    _, others, same, b = _table(after, score)
    if not items.equals(same):
        _refuse("items", items.symmetric_difference(same)[0][-1])
    if not seeds.equals(others) and min(len(seeds), len(others)) > 1:
        _refuse("seeds", seeds.symmetric_difference(others)[0])
    runs = max(len(seeds), len(others))
    a, b = (numpy.broadcast_to(side, (*side.shape[:-2], runs, side.shape[-1])) for side in (a, b))
    if score.function is None:
        return statistics.difference(a, b)
    return statistics.difference_of_sums(function, a, b)


def note(record, name: str, rows: pandas.DataFrame, score: Score, by: list, /, **labels):
    """Notes the score of every group of `by` (see `groups`) as a metric, a corpus score with sacrebleu's signature."""
    for where, part in groups(rows, by):
        found = estimate(part, score)
        signed = {"signature": str(score.metric.get_signature())} if score.metric else {}
        record.metric(name, found, score.unit, **signed, **labels, **where)


def compare(record, name: str, before: pandas.DataFrame, after: pandas.DataFrame, score: Score, by: list, /, **labels):
    """Notes the difference of two sides in every group of `by` that `after` has.

    A label `trainings` stands where what is compared was trained less often than there are seeds. Raises ValueError for
    a group that `before` lacks.
    """
    others = {tuple(where.values()): part for where, part in groups(before, by)}
    for where, part in groups(after, by):
        other = others.get(tuple(where.values()))
        if other is None:
            raise ValueError(f"{name} of {where} has nothing to be held against: score both sides on it.")
        record.metric(name, difference(other, part, score), score.unit, **labels, **where)


def between(record, name: str, rows: pandas.DataFrame, score: Score, by: list, column: str, before, after, /, **labels):
    """`compare` of the rows with two values of a column: labels are that column, and `against` for the first value."""
    sides = (rows[rows[column] == value] for value in (before, after))
    compare(record, name, *sides, score, by, **labels, **{column: after}, against=before)


def from_first(record, name: str, rows: pandas.DataFrame, score: Score, by: list, column: str, /, **labels):
    """`between` the first value of a column and each of the others."""
    values = rows[column].unique()
    for value in values[1:]:
        between(record, name, rows, score, by, column, values[0], value, **labels)


def comparisons(stages: list[str]) -> list[tuple[str, str]]:
    """Neighbouring stages, then the first against every later one, each pair once."""
    return list(dict.fromkeys([*itertools.pairwise(stages), *((stages[0], stage) for stage in stages[1:])]))


def groups(rows: pandas.DataFrame, by: list):
    """(labels, rows) of every combination of the columns `by`; its last may be a function that parts rows further."""
    columns = [name for name in by if isinstance(name, str)]
    part = by[-1] if len(columns) < len(by) else lambda rows: [({}, rows)]
    for key, chosen in rows.groupby(columns, sort=False) if columns else [((), rows)]:
        for labels, piece in part(chosen):
            yield {**dict(zip(columns, key)), **labels}, piece


def unions(column: str, parts: dict[str, Callable], least: int = 1) -> Callable:
    """A last entry of `by`: the rows of each value of a column, then those of every part of its values.

    `parts` maps what a part is called to the function that tells which values are in it; one of fewer values than
    `least` is left out.
    """
    def found(rows):
        yield from (({column: value}, own) for value, own in rows.groupby(column, sort=False))
        for name, within in parts.items():
            own = rows[within(rows[column])]
            if own[column].nunique() >= least:
                yield {column: name}, own
    return found


def _table(rows: pandas.DataFrame, score: Score):
    """The rows as (function, seeds, items, columns): statistics [statistics, seeds, items], or of a mean [seeds, items].

    Rows of one item and seed (layers, arms of a side) are summed up; `items` are those of each value of `over`.
    """
    if rows.empty:
        raise ValueError("There are no rows to score: the evaluation set is empty, check its filter or its split.")
    one = pandas.Series(0, rows.index)
    keys = [rows[score.over] if score.over else one, rows["seed"] if "seed" in rows else one, rows["item"]]
    codes, (overs, seeds, items) = zip(*(pandas.factorize(key, sort=True) for key in keys))
    shape = len(overs), len(seeds), len(items)
    places = numpy.ravel_multi_index(codes, shape)  # grouping by three columns takes twice as long
    columns = numpy.stack([numpy.bincount(places, column, math.prod(shape)).reshape(shape)
                           for column in numpy.asarray(score.columns(rows)).T])
    there = numpy.bincount(places, minlength=math.prod(shape)).reshape(shape) > 0
    if (lacks := there.any(1) & ~there.all(1)).any():
        raise ValueError(f"Item {items[lacks.any(0)][0]} has no score with some of the seeds {seeds.tolist()}: "
                         "score every run on the same items.")
    over, item = there.any(1).nonzero()
    scored = pandas.MultiIndex([overs, items], [over, item])
    if score.function is None:
        return None, seeds, scored, _values(*columns)
    return _averaged(score.function, len(columns)), seeds, scored, columns.reshape(-1, *columns.shape[2:])


def _values(sums, counts):
    """A value an item [seeds, items], such that their mean is the mean of the means of each `over`, from its sums."""
    sizes = (counts[:, 0] > 0).sum(1)
    weights = counts.shape[2] / (sizes * len(sizes))
    # Rounded, because a mean of right answers only shall be 1 and not a bit above it.
    return (sums / counts.clip(1) * weights[:, None, None]).sum(0).round(12)


def _averaged(function: Callable, count: int) -> Callable:
    """The mean of a function of `count` sums over the groups that these are of, those not drawn left out."""
    def averaged(sums):
        parts = sums.reshape(count, -1, sums.shape[1])
        with numpy.errstate(invalid="ignore"):
            scores = [function(parts[:, at]) for at in range(parts.shape[1])]
        return numpy.nanmean(scores, axis=0) if len(scores) > 1 else scores[0]
    return averaged


def _refuse(name: str, example):
    raise ValueError(f"The sides of a contrast differ in their {name}, {example} is on one side only: score both on "
                     f"the same {name}.")
