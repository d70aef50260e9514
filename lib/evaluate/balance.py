"""Choice items in which every option is right equally often."""
import pandas

from lib.evaluate import benchmarks


def sample(frame: pandas.DataFrame, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` labelled rows (an option at least one) of each benchmark, setting, task and number of options, with at
    most `longest` characters of text, in which every place is the right one equally often.

    A model that prefers a letter, whatever it is asked, would else lead or trail by that alone: over balanced items constant
    scores have a mean lead of 0. What has a place that is never right is left out, and told.
    """
    if frame.empty:
        return frame
    found = benchmarks.sample(frame, len(frame), longest, seed)
    alike = found.groupby(["benchmark", "setting", "task", found["choices"].map(len)], sort=False)
    groups = [rows for _, rows in alike]
    parts = [_even(rows, count) for rows in groups]
    if bare := sum(len(rows) for rows, part in zip(groups, parts) if part.empty):
        print(f"{bare} rows of tasks in which some option is never right are left out.")
    return pandas.concat(parts).sort_index().reset_index(drop=True) if parts else found


def _even(rows: pandas.DataFrame, count: int) -> pandas.DataFrame:
    """The first rows of each right answer, as many of all."""
    options = len(rows["choices"].iloc[0])
    rarest = rows["answer"].value_counts().reindex(range(options), fill_value=0).min()
    return rows[rows.groupby("answer").cumcount() < min(max(1, count // options), rarest)]
