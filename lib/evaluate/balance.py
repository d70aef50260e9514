"""Choice items in which every option is right equally often, and what that design is worth when they are counted."""
import numpy
import pandas

from lib.evaluate import benchmarks

LEAST = 2  # rows of each right answer: of a single one no scatter is known


def sample(frame: pandas.DataFrame, count: int, longest: int, seed: int = 0) -> pandas.DataFrame:
    """At most `count` labelled rows (of an option LEAST at least) of each benchmark, setting, task and number of options, with
    at most `longest` characters of text, in which every place is the right one equally often.

    A model that prefers a letter, whatever it is asked, would else lead or trail by that alone: over balanced items constant
    scores have a mean lead of 0. What has a place that is right less than LEAST times is left out, and told.
    """
    if frame.empty:
        return frame
    found = benchmarks.sample(frame, len(frame), longest, seed)
    alike = found.groupby(["benchmark", "setting", "task", found["choices"].map(len)], sort=False)
    groups = [rows for _, rows in alike]
    parts = [_even(rows, count) for rows in groups]
    if bare := sum(len(rows) for rows, part in zip(groups, parts) if part.empty):
        print(f"{bare} rows of tasks in which some option is right less than {LEAST} times are left out.")
    return pandas.concat(parts).sort_index().reset_index(drop=True) if parts else found


def stratified(scores: pandas.DataFrame, asked: pandas.DataFrame, by: list[str]) -> pandas.DataFrame:
    """The scores of the runs told apart by the columns `by`, with margins that scatter as a stratified sample does.

    As many items of each right place are asked, whatever is drawn; so the means of the places differ without making the mean
    of all uncertain (Cochran 1977, Sampling Techniques, section 5.3). Each margin becomes the mean of its benchmark, setting,
    task and number of options, plus its distance from the mean of its place × √(m / (m − 1)), m items of a place, since they
    made that mean themselves. Means stay what they are, and the bootstrap over items is then one within places.
    """
    group = [*by, "benchmark", "setting", "task", "choices"]
    margins, place = scores["margin"], scores["item"].map(asked.set_index("id")["answer"])
    within = margins.groupby([*(scores[name] for name in group), place])
    size = within.transform("size")
    distance = (margins - within.transform("mean")) * numpy.sqrt(size / (size - 1))
    return scores.assign(margin=scores.groupby(group)["margin"].transform("mean") + distance)


def _even(rows: pandas.DataFrame, count: int) -> pandas.DataFrame:
    """The first rows of each right answer, as many of all; none where there are fewer than LEAST of one."""
    options = len(rows["choices"].iloc[0])
    rarest = rows["answer"].value_counts().reindex(range(options), fill_value=0).min()
    even = min(max(LEAST, count // options), rarest)
    return rows[rows.groupby("answer").cumcount() < even] if even >= LEAST else rows.head(0)
