"""Scores against direct computations on tiny models, and their independence of batching."""
import copy
import json
import math
import socket

import numpy
import pandas
import pytest
import torch

from lib import exhibits
from lib.data import minimal
from lib.engine import records, statistics
from lib.evaluate import harness, measure, scoring, testsets
from lib.exhibits import base
from lib.exhibits.differences import differences
from lib.model.tokenizer import encoded, start_token

ZWNJ = "\u200c"


def direct_bits(model, tokenizer, text):
    """The text's bits in one forward pass over all of it."""
    ids = [start_token(tokenizer), *tokenizer(text, add_special_tokens=False).input_ids]
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(scores[at, token].item() for at, token in enumerate(ids[1:])) / math.log(2)


@pytest.mark.parametrize("kind", ["byte_tokenizer", "sentencepiece_tokenizer"])
def test_bits_are_those_of_the_whole_text(kind, request, tiny_model, english, persian):
    tokenizer = request.getfixturevalue(kind)
    model, texts = tiny_model(tokenizer), [english[0], persian[0], english[1]]
    frame = measure.bits_per_byte(model, tokenizer, texts)
    assert list(frame["bits"]) == pytest.approx([direct_bits(model, tokenizer, text) for text in texts], rel=1e-5)


def test_bytes_and_characters_come_from_the_text(byte_tokenizer, tiny_model):
    frame = measure.bits_per_byte(tiny_model(byte_tokenizer), byte_tokenizer, [f"می{ZWNJ}رود", "go"])
    assert list(frame["bytes"]) == [2 * 5 + 3, 2] and list(frame["characters"]) == [6, 2]


def test_batches_do_not_change_bits(byte_tokenizer, tiny_model, english, persian):
    model, texts = tiny_model(byte_tokenizer), [*english[:5], " ".join(persian)]
    one, many = (measure.bits_per_byte(model, byte_tokenizer, texts, 64, 16, size) for size in (1, 4096))
    assert list(one["bits"]) == pytest.approx(list(many["bits"]), rel=1e-5)


def test_windows_score_every_token_once(byte_tokenizer, tiny_model, english):
    """A model that gives every token the same share costs log2(vocabulary) a token, however the text is cut."""
    model = tiny_model(byte_tokenizer)
    torch.nn.init.zeros_(model.lm_head.weight)
    frame = measure.bits_per_byte(model, byte_tokenizer, [" ".join(english)], window=32, context=8)
    assert frame["bits"][0] == pytest.approx(frame["tokens"][0] * math.log2(len(byte_tokenizer)), rel=1e-5)


def test_empty_text_costs_nothing(byte_tokenizer, tiny_model):
    frame = measure.bits_per_byte(tiny_model(byte_tokenizer), byte_tokenizer, ["", "word"])
    assert list(frame.loc[0]) == [0, 0, 0, 0, 0] and frame["bits"][1] > 0


def test_retrieval_finds_translations_among_vectors():
    english = numpy.random.default_rng(0).normal(size=(3, 40, 16))
    target = english + 0.01 * numpy.random.default_rng(1).normal(size=english.shape)
    found = measure.nearest(english, target)
    assert found["correct"].all() and len(found) == 3 * 2 * 40
    shuffled = measure.nearest(english, numpy.roll(target, 1, axis=1))
    assert not shuffled["correct"].any()


def test_centring_removes_what_a_language_shares():
    english = numpy.random.default_rng(0).normal(size=(1, 40, 16))
    target = english + 50 * numpy.eye(16)[0]
    assert measure.nearest(english, target)["correct"].all()
    plain, *_ = english @ target.transpose(0, 2, 1) / numpy.linalg.norm(english, axis=2)[..., None]
    plain = plain / numpy.linalg.norm(target, axis=2)
    assert numpy.mean([plain.argmax(axis) == numpy.arange(40) for axis in (0, 1)]) < 0.7


def test_retrieval_of_a_text_by_itself(byte_tokenizer, tiny_model, english):
    frame = measure.retrieval(tiny_model(byte_tokenizer), byte_tokenizer, english[:5], english[:5])
    assert frame.groupby("layer")["correct"].mean().tolist() == [1, 1, 1]


def test_embeddings_do_not_depend_on_the_batch(byte_tokenizer, tiny_model, english):
    model = tiny_model(byte_tokenizer)
    one, many = (measure.embed(model, byte_tokenizer, english[:4], size) for size in (1, 4096))
    assert one.shape == (3, 4, 32) and numpy.allclose(one, many, atol=1e-5)


def test_retrieval_needs_pairs(byte_tokenizer, tiny_model):
    with pytest.raises(ValueError, match="got 2 English and 1"):
        measure.retrieval(tiny_model(byte_tokenizer), byte_tokenizer, ["a", "b"], ["c"])


@pytest.mark.parametrize("kind", ["byte_tokenizer", "sentencepiece_tokenizer"])
def test_generation_keeps_order_and_batches_alike(kind, request, tiny_model, english):
    tokenizer = copy.deepcopy(request.getfixturevalue(kind))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    model, prompts = tiny_model(tokenizer), [english[1], "a", english[0]]
    together = measure.generate(model, tokenizer, prompts, 8)
    assert together == [measure.generate(model, tokenizer, [prompt], 8)[0] for prompt in prompts]


@pytest.fixture
def items():
    """Three English and three Persian choice items."""
    choices = ["the lazy dog", "the file", "yes or no"]
    return pandas.DataFrame([{"id": f"{language}{at}", "task": "emoji_mcq", "language": language, "question": question,
                              "choices": numpy.array(choices), "answer": at}
                             for language, questions in (("en", "abc"), ("fa", "الف"))
                             for at, question in enumerate(questions)])


@pytest.mark.parametrize("prompt", harness.PROMPTS)
def test_harness_answers_every_item_offline(prompt, byte_tokenizer, tiny_model, items, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the harness reached for the network"))
    scored = harness.score(tiny_model(byte_tokenizer), byte_tokenizer, items, tmp_path, prompt, batch_size=2)
    assert sorted(scored["item"]) == sorted(items["id"]) and set(scored["choices"]) == {3}
    assert sorted(path.name for path in tmp_path.glob("*.samples.jsonl")) == [
        f"emoji_mcq_{language}_{prompt}.samples.jsonl" for language in ("en", "fa")]


@pytest.mark.parametrize("prompt", harness.PROMPTS)
def test_harness_asks_a_task_of_the_users_own(prompt, byte_tokenizer, tiny_model, items, tmp_path):
    items = items.assign(task="my_exam")
    items.loc[0, "choices"] = ["the file", "yes"]
    scored = harness.score(tiny_model(byte_tokenizer), byte_tokenizer, items, tmp_path, prompt, batch_size=2)
    assert set(scored["task"]) == {"my_exam"} and sorted(scored["choices"]) == [2, 3, 3, 3, 3, 3]
    assert sorted(path.name for path in tmp_path.glob("*.samples.jsonl")) == [
        f"my_exam_{language}_{prompt}.samples.jsonl" for language in ("en", "fa")]


def test_harness_picks_the_likeliest_choice_per_character(byte_tokenizer, tiny_model, items, tmp_path):
    model, items = tiny_model(byte_tokenizer), items[items["language"] == "en"]
    scored = harness.score(model, byte_tokenizer, items, tmp_path)
    for row, correct in zip(items.itertuples(), scored["correct"]):
        costs = [continuation_nats(model, byte_tokenizer, f"{row.question}:", f" {choice}") / len(choice)
                 for choice in row.choices]
        assert (numpy.argmin(costs) == row.answer) == correct


def test_the_margin_is_what_the_question_adds_to_the_right_option_over_the_others(byte_tokenizer, tiny_model, english, items, tmp_path):
    model, row = tiny_model(byte_tokenizer), items.iloc[1]
    scored = harness.score(model, byte_tokenizer, items, tmp_path).set_index("item")
    added = [(continuation_nats(model, byte_tokenizer, "", f" {choice}") - continuation_nats(model, byte_tokenizer, f"{row.question}:", f" {choice}"))
             / numpy.mean([len(choice) for choice in row.choices]) / math.log(2) for choice in row.choices]
    assert scored.loc["en1", "margin"] == pytest.approx(added[1] - (added[0] + added[2]) / 2, rel=1e-3)
    # Where nothing is asked, of the sentences themselves.
    pair = pandas.DataFrame([{"id": "a", "task": "word_order", "language": "en", "question": "", "answer": 1,
                              "choices": [minimal.swap(english[0]), english[0]]}])
    bits = measure.bits_per_byte(model, byte_tokenizer, pair["choices"][0])
    costs = (bits["bits"] / bits["bytes"]).tolist()
    assert harness.score(model, byte_tokenizer, pair, tmp_path)["margin"].tolist() == pytest.approx([costs[0] - costs[1]], rel=1e-3)


def test_likelihoods_of_a_bf16_model_are_not_rounded_to_bf16(byte_tokenizer, tiny_model, items, tmp_path):
    harness.score(tiny_model(byte_tokenizer).to(torch.bfloat16), byte_tokenizer, items, tmp_path)
    samples = [json.loads(line) for path in tmp_path.glob("*.samples.jsonl") for line in path.read_text("utf8").splitlines()]
    found = torch.tensor([answer[0] for sample in samples for answer in sample["filtered_resps"]], dtype=torch.float32)
    assert (found != found.bfloat16().float()).float().mean() > 0.9


def continuation_nats(model, tokenizer, context, continuation):
    """The continuation's negative log-likelihood in one forward pass."""
    (ids,), (before,) = encoded(tokenizer, [context + continuation]), encoded(tokenizer, [context])
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(scores[at - 1, ids[at]].item() for at in range(len(before), len(ids)))


def test_task_hash_tells_other_questions(byte_tokenizer, tiny_model, items, tmp_path):
    hashes = [harness.task_hash(harness.score(tiny_model(byte_tokenizer), byte_tokenizer, chosen, tmp_path))
              for chosen in (items, items, items.assign(answer=0))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_unknown_prompt_is_refused(byte_tokenizer, tiny_model, items, tmp_path):
    with pytest.raises(ValueError, match="'essay' is unknown: choose one of document, chat"):
        harness.score(tiny_model(byte_tokenizer), byte_tokenizer, items, tmp_path, "essay")


def test_bits_make_an_estimate(byte_tokenizer, tiny_model, english):
    frame = measure.bits_per_byte(tiny_model(byte_tokenizer), byte_tokenizer, english)
    estimate = statistics.ratio(frame["bits"], frame["bytes"])
    assert estimate.n == len(english) and estimate.low < estimate.value < estimate.high


def test_choose_draws_test_items_of_each_language(items):
    items = items.assign(split=["test", "test", "train"] * 2)
    assert sorted(testsets.choose(items, ["emoji_mcq"], 5, 99)["id"]) == ["en0", "en1", "fa0", "fa1"]
    assert len(testsets.choose(items, ["emoji_mcq"], 1, 99)) == 2
    with pytest.raises(ValueError, match="No test item of heading_mcq has at most 99"):
        testsets.choose(items, ["heading_mcq"], 5, 99)


def test_without_named_tasks_all_are_asked_and_what_is_too_long_is_told(items, capsys):
    order = items.assign(task="word_order", question="", id=items["id"] + "x")
    items = pandas.concat([items, order]).assign(split="test")
    assert set(testsets.choose(items, [], 5, 99)["task"]) == {"emoji_mcq", "word_order"} and not capsys.readouterr().out
    assert set(testsets.choose(items, [], 5, 5)["task"]) == {"emoji_mcq"}
    assert "Left out is word_order" in capsys.readouterr().out
    assert testsets.choose(order[:0].assign(split="test"), [], 5, 99).empty
    testsets.choose(order.assign(split="test"), [], 5, 99)
    assert "`test_files`" in capsys.readouterr().out


def test_word_order_is_told_by_the_likelihood_of_the_whole_sentence(byte_tokenizer, tiny_model, english, tmp_path):
    model = tiny_model(byte_tokenizer)
    rows = [{"id": str(at), "task": "word_order", "language": "en", "question": "", "answer": at % 2,
             "choices": [line, minimal.swap(line)][::1 - 2 * (at % 2)]} for at, line in enumerate(english[:5])]
    scored = harness.score(model, byte_tokenizer, pandas.DataFrame(rows), tmp_path).set_index("item")
    for row in rows:
        bits = measure.bits_per_byte(model, byte_tokenizer, row["choices"])["bits"]
        assert scored.loc[row["id"], "correct"] == (bits.argmin() == row["answer"])


def test_nothing_to_ask_gives_empty_frames(byte_tokenizer, tiny_model, items, tmp_path):
    model, pairs = tiny_model(byte_tokenizer), pandas.DataFrame(columns=["id", "english", "target"])
    assert list(harness.score(model, byte_tokenizer, items[:0], tmp_path)) == harness.SCORED
    assert "invalid" in measure.translate(model, byte_tokenizer, pairs, "fa", "document", 4)


def test_english_is_tested_on_text_from_outside_and_the_rest_stands_beside_it():
    rows = [("test", "hi", "नमस्ते"), ("train", "en", "hello"), ("test", "en", "a manual"), ("outside", "en", "a novel"),
            ("outside", "hi", "किताब")]
    documents = pandas.DataFrame(rows, columns=["split", "language", "text"]).assign(register="own")
    drawn = [frame[["language", "split", "text"]].to_numpy().tolist() for frame in
             (testsets.texts(documents, "hi", 100), testsets.controls(documents, "hi", 100), testsets.texts(documents[:3], "hi", 100),
              testsets.texts(documents[:2], "hi", 100), testsets.controls(documents[:2], "hi", 100))]
    assert drawn[0] == [["hi", "test", "नमस्ते"], ["en", "outside", "a novel"]]
    assert drawn[1] == [["en", "test", "a manual"], ["hi", "outside", "किताब"]]
    assert drawn[2][1] == ["en", "test", "a manual"] and len(drawn[3]) == 1 and not drawn[4]


def test_held_out_stops_at_the_size():
    documents = pandas.DataFrame({"split": ["test"] * 9 + ["train"], "language": "fa", "text": ["م" * 100] * 10})
    texts = testsets.held_out(documents, "fa", 300, excerpt=50)
    assert texts["text"].str.len().tolist() == [50, 50, 50]
    with pytest.raises(ValueError, match="no test document in 'en'"):
        testsets.held_out(documents, "en", 300)


@pytest.mark.parametrize("prompt", harness.PROMPTS)
def test_translations_keep_every_pair(prompt, byte_tokenizer, tiny_model, english, persian):
    pairs = pandas.DataFrame({"id": ["p0", "p1"], "english": english[:2], "target": persian[:2]})
    frame = measure.translate(tiny_model(byte_tokenizer), byte_tokenizer, pairs, "fa", prompt, 8)
    assert list(frame["direction"]) == ["en-fa"] * 2 + ["fa-en"] * 2
    assert list(frame["source"]) == [*english[:2], *persian[:2]]
    assert list(frame["reference"]) == [*persian[:2], *english[:2]]


@pytest.mark.parametrize("answer, invalid", [("", True), ("…", True), ("The file", True), ("کتاب تازه the", False)])
def test_invalid_translations(answer, invalid):
    assert all(scoring.foreign(answer, "The file", code, "پرونده") is invalid for code in ("fa", "bal"))


def test_sentences_are_short_and_not_repeated(capsys):
    pairs = pandas.DataFrame({"split": ["test"] * 4 + ["train"], "english": ["a", "a", "b", "long " * 9, "c"],
                              "target": ["ا", "آ", "ب", "پ", "ج"]})
    assert set(testsets.sentences(pairs, 9, 20)["english"]) == {"a", "b"}
    assert testsets.sentences(pairs, 9, 0).empty and "None of 4 held-out pairs" in capsys.readouterr().out
    assert testsets.sentences(pairs[:0], 9, 20).empty and not capsys.readouterr().out


@pytest.fixture
def record(output):
    """An open record of chapter 06 with two stages: English gets 0.1 bits worse, Persian better, one task improves."""
    found = records.Record("06_evaluation", {"profile": "test", "stages": ["base", "aligned"]}, {})
    where = {"task": "emoji_mcq", "language": "en", "prompt": "document"}
    for stage, right, bits in (("base", 10, 1.0), ("aligned", 30, 1.1)):
        found.metric("accuracy", statistics.wilson(right, 40), "share", stage=stage, **where)
        found.fact("chance", 0.25, "share", stage=stage, **where)
        found.metric("bits_per_byte", statistics.mean([bits] * 9), "bits/byte", stage=stage, language="en")
        found.metric("chrf", statistics.mean([5.0] * 7), "chrF++", stage=stage, task="en-fa", prompt="document")
        found.rows("translations", [{"stage": stage, "direction": "en-fa", "prompt": "document", "source": "a",
                                     "reference": "آ", "hypothesis": stage, "invalid": stage == "base"}])
    labels, never = {"stage": "aligned", "against": "base"}, statistics.Difference(0.0, 7, -1.0, 1.0, 0.9)
    better, worse = statistics.difference([0] * 20 + [1] * 20, [1] * 40), statistics.difference([1.0] * 9, [1.1] * 9)
    found.metric("accuracy_difference", better, "share", **labels, **where)
    found.metric("bits_per_byte_difference", worse, "bits/byte", language="en", **labels)
    found.metric("chrf_difference", never, "chrF++", task="en-fa", prompt="document", **labels)
    return found


def test_a_p_too_small_to_print_is_still_counted(record):
    """It is printed `< 0.001`, which is no number."""
    labels = {"stage": "aligned", "against": "base", "task": "emoji_mcq", "language": "fa", "prompt": "document"}
    record.metric("accuracy_difference", statistics.Difference(0.5, 900, 0.4, 0.6, 1e-6), "share", **labels)
    found = base.measured("test", "06_evaluation", "accuracy_difference")
    frame, reading = differences(found, {"language": "language"})
    assert "< 0.001" in set(frame["p (Holm)"]) and "2 of 2 differences" in reading


def test_stage_tables_come_from_the_record(record):
    scores, reading = exhibits.TABLES["P1-T5"].build("test")
    assert list(scores["score"]) == ["emoji_mcq en", "bits_per_byte en", "chrf en-fa"]
    assert scores["aligned"][0].startswith("75.0 [") and scores["chance"][0] == "25 %"
    assert "base 25.0 %, aligned 75.0 %; 1 of 1 differences" in reading and "n = 40" in reading


def test_forgetting_lists_english_scores_only(record):
    frame, reading = exhibits.TABLES["P1-T7"].build("test")
    assert list(frame["score"]) == ["emoji_mcq en", "bits_per_byte en"] and list(frame["before"]) == ["25.0", "1.000"]
    assert "aligned against base 0.100 [0.100, 0.100]" in reading


def test_steps_are_corrected_for_their_number(record):
    found = base.measured("test", "06_evaluation", "accuracy_difference", "bits_per_byte_difference", "chrf_difference")
    frame, reading = differences(found, {"metric": "score"}, "Of all:", "n > 0")
    assert sorted(frame["p (Holm)"]) == ["0.003", "0.003", "0.900"] and "1 of 1 differences on 10 items or more" in reading
    assert reading.startswith("Of all: ") and "(the least p of 3)" in reading


def test_what_rests_on_few_items_is_marked_and_the_mark_explained(record, output):
    exhibits.save("P1-T5", "test")
    text = (output / "figures/test/tables/P1-T5_stages.md").read_text("utf8")
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert "†" in rows["| chrf en-fa"] and "†" not in rows["| emoji_mcq en"] and text.endswith("† fewer than 10 items.\n")


def test_accuracy_figure_has_intervals_and_chance(record):
    drawing, frame, reading = exhibits.FIGURES["P1-F1"].build("test")
    assert len(drawing.axes) == 1 and list(frame["chance"]) == [0.25, 0.25]
    assert "highest: emoji_mcq en aligned" in reading


def test_sentences_are_from_outside_where_there_are_any():
    pairs = pandas.DataFrame({"id": list("abc"), "split": ["test", "outside", "outside"], "english": ["One.", "Two.", "Three." * 9],
                              "target": ["یک.", "دو.", "سه."]})
    assert testsets.sentences(pairs, 5, 20)["id"].tolist() == ["b"] and testsets.sentences(pairs[:1], 5, 20)["id"].tolist() == ["a"]
