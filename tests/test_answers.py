"""Answers before and after instruction tuning: what counts as repeating, and what is noted of them."""
import math

import pandas
import pytest
import torch

from lib.data import prompts
from lib.engine import records
from lib.evaluate import scoring
from lib.study import ch05_answers as answers


@pytest.mark.parametrize("answer, says", [
    ("the cat sat on the mat and then it slept", False), ("I do not know. " * 6, True), ("", False), ("خوب خوب", False),
    ("کتاب را بخوان و بنویس " * 4, True)])
def test_an_answer_that_says_the_same_again_and_again(answer, says):
    assert answers.repeats(answer) is says


def test_an_answer_in_another_script_is_no_answer():
    assert scoring.misscripted("hello there", "fa", "سلام") and not scoring.misscripted("سلام hi", "fa", "سلام")
    assert scoring.foreign("", "a", "en", "b") and scoring.foreign("a", "a", "en", "b") and not scoring.foreign("c", "a", "en", "b")


def test_held_out_prompts_are_answered_and_judged(byte_tokenizer, tiny_model, english, persian):
    items = pandas.DataFrame([{"id": str(at), "task": "emoji_mcq", "language": "en", "split": "test", "question": f"{line} {at}",
                               "choices": ["a", "b"], "answer": 0} for at, line in enumerate(english)])
    pairs = pandas.DataFrame([{"id": str(at), "source": "s", "split": "test", "english": f"{en} {at}", "target": f"{fa} {at}"}
                              for at, (en, fa) in enumerate(zip(english, persian))])
    documents = pandas.DataFrame(columns=["source", "language", "split", "text"])
    dialogues = pandas.DataFrame(columns=["source", "language", "split", "prompt", "reply"])
    rows = answers.draw((documents, pairs, dialogues, items), "fa", 3, 200, 0)
    assert rows.groupby(["task", "language"]).size().to_dict() == {
        ("emoji_mcq", "en"): 3, ("translation", "en"): 3, ("translation", "fa"): 3}
    judged = answers.judged(tiny_model(byte_tokenizer), byte_tokenizer, rows, 6)
    assert judged["item"].is_unique and judged["right"].notna().tolist() == (judged["task"] == "emoji_mcq").tolist()
    # What an answer costs is what is left of the whole text's cost without its prompt.
    row, model = rows.to_dict("records")[0], tiny_model(byte_tokenizer)
    asked = prompts.render(byte_tokenizer, prompts.messages(row))
    ids = byte_tokenizer(asked + prompts.answer(row), add_special_tokens=False, return_tensors="pt")["input_ids"]
    first = len(byte_tokenizer(asked, add_special_tokens=False)["input_ids"])
    nats = torch.nn.functional.cross_entropy(model(ids).logits[0, first - 1:-1], ids[0, first:], reduction="sum")
    assert judged["bits"][0] == pytest.approx(float(nats) / math.log(2), rel=1e-4)
    shown = answers.shown(rows, judged, judged, "base", 1)
    assert len(shown) == 3 and all(row["before"] == row["after"] and row["reference"] for row in shown)


def test_shares_are_noted_by_task_and_of_all_tasks(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    before = pandas.DataFrame({"item": range(20), "language": "fa", "task": ["emoji_mcq"] * 10 + ["dialogue"] * 10, "valid": False,
                               "repeated": True, "wrong_language": False, "right": [False] * 10 + [None] * 10, "bits": 20.0,
                               "bytes": 5})
    record = records.Record("05_sft", {"profile": "smoke", "seed": 0}, {})
    answers.note(record, before, before.assign(valid=True, repeated=[False, True] * 10, bits=10.0), "aligned")
    found = pandas.DataFrame(record.content["metrics"]).set_index(["metric", "task", "moment"])["value"]
    assert found["answers_valid", "all", "after"] == 1 and found["answers_valid", "all", "before"] == 0
    assert found["answers_repeated", "dialogue", "after"] == 0.5 and found["answers_bits_per_byte", "dialogue", "after"] == 2
    assert ("answers_right", "dialogue", "before") not in found.index  # right is known of choices alone
    differences = pandas.DataFrame(record.content["metrics"]).query("metric == 'answers_repeated_difference' and task == 'all'")
    assert differences["value"].tolist() == [-0.5] and differences["n"].tolist() == [20]


def test_one_stage_and_two_read_the_same_documents_and_are_held_against_each_other(byte_tokenizer, english, persian, output):
    rows = pandas.DataFrame([{"task": "dialogue", "language": "en", "text": f"{line} {at}", "answer": "Yes."} for at, line in enumerate(english)])
    streams = {"fa": persian, "en": english, "instructions": answers.chats(byte_tokenizer, rows)}
    one, two = (list(answers.in_order(streams, "fa", arm, 2000, 0)) for arm in ("one-stage", "two-stages"))
    assert sorted(one) == sorted(two) and one != two
    names = [name for name, _ in two]
    assert names[names.index("instructions"):] == ["instructions"] * names.count("instructions") and two[-1][1].startswith("<|im_start|>user")
    record = records.Record("05_sft", {"profile": "smoke", "seed": 0}, {})
    judged = pandas.DataFrame([{"arm": arm, "seed": seed, "item": item, "language": "fa", "valid": True, "right": None, "repeated": False,
                                "wrong_language": False, "bits": bits, "bytes": 10} for arm, bits in (("one-stage", 20.0), ("two-stages", 30.0))
                               for seed in (0, 1, 2) for item in range(12)])
    answers.note_order(record, judged, judged)
    found = pandas.DataFrame(record.content["metrics"]).query("arm == 'one-stage'").dropna(subset="against").set_index("metric")
    assert found.loc["order_answers_bits_per_byte_difference", ["value", "trainings"]].tolist() == [-1, 3]
    assert "order_answers_right_difference" not in found.index
