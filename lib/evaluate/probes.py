"""Probes: what a logistic regression reads off the states of a frozen model (Alain and Bengio 2016, arXiv 1610.01644).

A text is the mean of its states in the middle layer. Each set of texts is centred by itself, since all texts of a language
share a direction, so that a probe fitted on one language can be asked in another.
"""
import numpy
import pandas

from lib.evaluate import measure

PENALTIES = (1e-3, 1e-2, 1e-1)  # how freely a probe is fitted (scikit-learn's C): the best by FOLDS of its rows
FOLDS = 3


def labelled(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of tasks whose options are labels: in every row of a language the same list, or the beginning of it."""
    lists = {key: [tuple(options) for options in found] for key, found in
             rows[rows["choices"].notna()].groupby(["task", "language"])["choices"]}
    known = [key for key, found in lists.items() if all(own == max(found, key=len)[:len(own)] for own in set(found))]
    return rows[pandas.MultiIndex.from_frame(rows[["task", "language"]]).isin(known) & rows["choices"].notna()]


def score(model, tokenizer, train: pandas.DataFrame, test: pandas.DataFrame) -> pandas.DataFrame:
    """Whether a probe finds the label of each test row: task, trained_on, language, item, choices, correct.

    A probe is fitted on each task and language of the training rows, on labels with FOLDS rows each, and asked in every
    language about the rows that have one of these; lists of labels have one order in all languages. Of a row's options the
    likeliest counts.
    """
    asked = {key: (_states(model, tokenizer, rows), rows) for key, rows in labelled(test).groupby(["task", "language"])}
    found = []
    for (task, code), rows in labelled(train).groupby(["task", "language"], sort=False):
        rows = rows.assign(answer=rows["answer"].astype(int))
        rows = rows[rows.groupby("answer")["answer"].transform("size") >= FOLDS]
        if rows["answer"].nunique() < 2:
            continue
        probe = _fitted(_states(model, tokenizer, rows), rows["answer"])
        for (_, language), (states, told) in ((key, value) for key, value in asked.items() if key[0] == task):
            offered = probe.classes_ < told["choices"].map(len).to_numpy()[:, None]
            answers = told["answer"].astype(int).to_numpy()
            best = probe.classes_[numpy.where(offered, probe.predict_proba(states), -1).argmax(1)]
            told = pandas.DataFrame({"task": task, "trained_on": code, "language": language, "item": told["id"].to_numpy(),
                                     "choices": offered.sum(1), "correct": best == answers})
            found.append(told[numpy.isin(answers, probe.classes_)])
    columns = ["task", "trained_on", "language", "item", "choices", "correct"]
    return pandas.concat(found, ignore_index=True) if found else pandas.DataFrame(columns=columns)


def _states(model, tokenizer, rows: pandas.DataFrame) -> numpy.ndarray:
    """Centred states of the rows' texts in the middle layer [rows, width], each number of about the size of one."""
    layers = measure.embed(model, tokenizer, rows["text"].tolist())
    return measure.unit(layers[len(layers) // 2]) * layers.shape[-1] ** 0.5


def _fitted(states: numpy.ndarray, labels):
    from sklearn.linear_model import LogisticRegressionCV  # takes a second to import
    return LogisticRegressionCV(Cs=list(PENALTIES), cv=FOLDS, max_iter=1000, l1_ratios=(0,), scoring="accuracy",
                                use_legacy_attributes=False).fit(states, labels)
