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
    """The rows of tasks that have the same options, labels, in every row of a language."""
    rows = rows[rows["choices"].notna()]
    kinds = rows["choices"].map(tuple).groupby([rows["task"], rows["language"]])
    return rows[kinds.transform("nunique") == 1]


def score(model, tokenizer, train: pandas.DataFrame, test: pandas.DataFrame) -> pandas.DataFrame:
    """Whether a probe finds the label of each test row: task, trained_on, language, item, choices, correct.

    A probe is fitted on each task and language of the training rows that has FOLDS rows of each label, and asked in every
    language whose rows of the task have as many labels, in the same order.
    """
    asked = {key: (_states(model, tokenizer, rows), rows) for key, rows in labelled(test).groupby(["task", "language"])}
    found = []
    for (task, code), rows in labelled(train).groupby(["task", "language"], sort=False):
        labels, counts = numpy.unique(rows["answer"].astype(int), return_counts=True)
        if len(labels) < 2 or counts.min() < FOLDS:
            continue
        probe = _fitted(_states(model, tokenizer, rows), rows["answer"].astype(int))
        for (other, language), (states, test_rows) in asked.items():
            size = len(test_rows["choices"].iloc[0])
            if other == task and size == len(rows["choices"].iloc[0]):
                found.append(pandas.DataFrame({
                    "task": task, "trained_on": code, "language": language, "item": test_rows["id"], "choices": size,
                    "correct": probe.predict(states) == test_rows["answer"].astype(int)}))
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
