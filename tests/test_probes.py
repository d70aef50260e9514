"""Probes find what is in the states, in the language that they were fitted on and in another, and nothing in noise."""
import numpy
import pandas
import pytest

from lib.evaluate import measure, probes

LABELS = {"en": ["bad", "good"], "fa": ["بد", "خوب"]}


def rows(language, count, begin=0):
    """Texts that end in 0 or 1; their label is the last letter."""
    return [{"id": f"{language}{number}", "task": "sentiment", "language": language, "text": f"{language} {number} {number % 2}",
             "choices": numpy.array(LABELS[language]), "answer": number % 2} for number in range(begin, begin + count)]


@pytest.fixture
def states(monkeypatch):
    """Random states, of which the second layer has the label in one direction, and each language its own offset."""
    def embed(model, tokenizer, texts):
        draw = numpy.random.default_rng(len(texts))
        found = draw.normal(size=(3, len(texts), 16))
        found[1, :, 0] += [4 * int(text[-1]) for text in texts]
        return found + numpy.array([10.0 if text.startswith("fa") else 0.0 for text in texts])[None, :, None]
    monkeypatch.setattr(measure, "embed", embed)


def test_a_probe_finds_a_label_in_both_languages(states):
    train, test = pandas.DataFrame(rows("en", 60)), pandas.DataFrame(rows("en", 40, 60) + rows("fa", 40))
    found = probes.score(None, None, train, test)
    assert found.groupby(["trained_on", "language"])["correct"].mean().min() > 0.9
    assert len(found) == 80 and set(found["choices"]) == {2} and found["item"].is_unique


def test_lists_of_labels_may_be_cut_short_and_a_label_that_was_not_learned_is_not_asked(states):
    three = [{**row, "id": f"x{row['id']}", "choices": [*LABELS["fa"], "خنثی"], "answer": 2 * (number < 5) or row["answer"]}
             for number, row in enumerate(rows("fa", 40))]
    test = pandas.DataFrame([*rows("fa", 20), *three])
    found = probes.score(None, None, pandas.DataFrame(rows("en", 60)), test)
    assert len(found) == 55 and set(found["choices"]) == {2} and found["correct"].mean() > 0.9
    other = test.assign(choices=[[*row["choices"][::-1]] if at == 3 else row["choices"] for at, row in enumerate(test.to_dict("records"))])
    assert probes.labelled(other).empty


def test_tasks_without_labels_or_with_too_few_rows_have_no_probe(states):
    own = pandas.DataFrame([{**row, "task": "emoji_mcq", "choices": [row["text"], "x"]} for row in rows("en", 20)])
    told = pandas.DataFrame([{**row, "task": "translation", "choices": None} for row in rows("en", 3)])
    few = pandas.DataFrame(rows("fa", 3))
    assert set(probes.labelled(pandas.concat([own, told, few]))["task"]) == {"sentiment"}
    assert probes.score(None, None, pandas.concat([own, told, few]), few).empty
