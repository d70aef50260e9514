"""Prompts: the same bytes in training and testing, specials in their places, instructions from training rows only."""
import copy

import pandas
import pytest

from lib.data import prompts

QUESTION = {"task": "emoji_mcq", "language": "fa", "question": "گربه", "choices": ["🐈", "🐕"], "answer": 1}
SENTENCE = prompts.translation("The cat sleeps.", "گربه می‌خوابد.", "fa-en")


@pytest.fixture
def llama_tokenizer(sentencepiece_tokenizer):
    """Puts BOS before every text, as Llama-2's tokenizer does."""
    tokenizer = copy.deepcopy(sentencepiece_tokenizer)
    tokenizer.add_bos_token = True
    return tokenizer


@pytest.fixture(params=["byte_tokenizer", "llama_tokenizer"])
def tokenizer(request):
    return copy.deepcopy(request.getfixturevalue(request.param))


@pytest.fixture(params=prompts.STYLES)
def dressed(request, tokenizer):
    return prompts.dress(tokenizer, request.param)


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("row", [QUESTION, SENTENCE], ids=["choice", "translation"])
def test_training_and_testing_prompt_are_the_same_bytes(dressed, row):
    made = prompts.example(row)
    trained = dressed.apply_chat_template(made["prompt"] + made["completion"], tokenize=False)
    tested = prompts.render(dressed, prompts.messages(row))
    assert trained.startswith(tested)
    assert trained[len(tested):].split(dressed.eos_token)[0].strip() == prompts.answer(row)


def test_the_first_row_of_each_kind_is_shown_as_a_model_reads_it():
    rows = pandas.DataFrame([QUESTION, QUESTION | {"question": "سگ"}, QUESTION | {"language": "en", "question": "a cat"}])
    shown = prompts.shown(rows, "language")
    assert shown["language"].tolist() == ["fa", "en"]
    assert shown["the model reads"].tolist() == [prompts.messages(row)[0]["content"] for row in (rows.iloc[0], rows.iloc[2])]
    assert shown["it should say"].tolist() == [prompts.answer(QUESTION), "B"]
    assert prompts.shown(rows.head(0), "language").empty


def test_eos_is_the_token_after_the_answer(dressed):
    made = prompts.example(SENTENCE)
    ids = encode(dressed, dressed.apply_chat_template(made["prompt"] + made["completion"], tokenize=False))
    prompt = encode(dressed, prompts.render(dressed, made["prompt"]))
    reply = ids[len(prompt):]
    assert dressed.decode(reply[:reply.index(dressed.eos_token_id)]).strip() == prompts.answer(SENTENCE)


def test_exactly_one_bos_where_the_tokenizer_puts_one(dressed):
    if dressed("x")["input_ids"][0] != dressed.bos_token_id:
        pytest.skip("this tokenizer puts no BOS before a text")
    ids = encode(dressed, prompts.render(dressed, prompts.messages(SENTENCE)))
    assert ids[0] == dressed.bos_token_id and ids.count(dressed.bos_token_id) == 1


def test_alpaca_is_the_papers_training_template(tokenizer):
    made = prompts.example(SENTENCE)
    start = tokenizer.bos_token if tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id else ""
    text = prompts.dress(tokenizer, "alpaca").apply_chat_template(made["prompt"] + made["completion"], tokenize=False)
    assert text == (start + "Below is an instruction that describes a task. "
                    "Write a response that appropriately completes the request.\n\n"
                    "### Instruction:\nبه انگلیسی ترجمه کن:\nگربه می‌خوابد.\n\n"
                    "### Response: The cat sleeps." + tokenizer.eos_token)


ENDLESS = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
# As DeepSeek-R1's: a thought is begun in the prompt, and left out of the text that has an answer.
FORGETFUL = ("{% for message in messages %}{{ '<|im_start|>' + message['content'] + '<|im_end|>' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<|im_start|><think>\n' }}{% endif %}")


@pytest.mark.parametrize("template, reason", [
    (None, "no chat template"), (ENDLESS, "no special token"), (FORGETFUL, "renders a prompt alone otherwise"),
    ("{{ raise_exception('Only tools!') }}", "Only tools!")])
def test_without_a_template_of_use_the_papers_is_taken_and_said_so(template, reason, tokenizer, capsys):
    tokenizer.chat_template = template
    prompts._say.cache_clear()
    dressed = prompts.dress(tokenizer, "chat")
    assert reason in (said := capsys.readouterr().out) and "alpaca" in said
    assert prompts.render(dressed, prompts.messages(SENTENCE)).endswith("### Response:")
    assert prompts.end(dressed) == dressed.eos_token_id
    assert prompts.dress(dressed, "chat") is dressed and not capsys.readouterr().out


def test_a_blank_that_merges_with_the_answers_first_word_is_left_to_the_answer(byte_tokenizer, monkeypatch):
    words, turns = copy.deepcopy(byte_tokenizer), prompts.messages(SENTENCE)
    words.chat_template = ("{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}"
                           "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    assert prompts.render(words, turns).endswith("assistant: ")  # the tiny vocabulary has no " Yes"
    monkeypatch.setattr(prompts, "SAMPLE", "the")
    assert prompts.render(words, turns).endswith("assistant:") and prompts.around(words, turns)[0] == " "
    assert prompts.end(words) == words.eos_token_id


def test_an_unknown_style_is_refused(tokenizer):
    with pytest.raises(ValueError, match="choose one of chat, alpaca"):
        prompts.dress(tokenizer, "vicuna")


def test_the_end_of_an_answer_is_what_the_template_puts_behind_it(byte_tokenizer, llama_tokenizer):
    other = copy.deepcopy(byte_tokenizer)
    other.eos_token = "<|endoftext|>"
    assert prompts.end(other) == other.convert_tokens_to_ids("<|im_end|>") != other.eos_token_id
    assert prompts.end(llama_tokenizer) == llama_tokenizer.eos_token_id


def test_a_template_that_may_ask_for_thoughts_asks_for_none(byte_tokenizer):
    words = copy.deepcopy(byte_tokenizer)
    words.chat_template += "{% if enable_thinking is not false %}{{ '<think>' }}{% endif %}"
    assert prompts.render(words, prompts.messages(SENTENCE)).endswith("<think>")
    words.chat_template = prompts.unthinking(words.chat_template)
    assert prompts.render(words, prompts.messages(SENTENCE)).endswith("assistant\n")
    assert prompts.unthinking(words.chat_template) == words.chat_template
    assert prompts.unthinking(byte_tokenizer.chat_template) == byte_tokenizer.chat_template
    assert prompts.unthinking(None) is None


@pytest.mark.parametrize("text, asked, answer", [
    (" yes ", "", "yes"), ("<think>\n\n</think>\n\nyes", "", "yes"), ("so it is</think>\nyes", "<think>\n", "yes"),
    ("<think>so it", "", ""), ("so it", "assistant\n<think>\n", ""), ("a < b", "is a <think> b?", "a < b")])
def test_an_answer_is_read_behind_its_thoughts(text, asked, answer):
    assert prompts.spoken(text, asked) == answer


def test_a_reply_has_what_the_template_puts_before_it(byte_tokenizer):
    words = copy.deepcopy(byte_tokenizer)
    words.chat_template = words.chat_template.replace("'\n' + message['content']", "'\n' + ('<think></think> ' if "
                                                      "message['role'] == 'assistant' else '') + message['content']")
    assert prompts.around(words, prompts.messages(SENTENCE))[0] == "<think></think> "


def test_options_carry_the_letters_of_the_language():
    persian, english = prompts.messages(QUESTION), prompts.messages({**QUESTION, "language": "en"})
    assert persian[0]["content"].startswith("این نام کدام شکلک است؟\nگربه\nالف) 🐈\nب) 🐕\n")
    assert prompts.answer(QUESTION) == "ب"
    assert "\nA) 🐈\nB) 🐕\n" in english[0]["content"]


def test_a_language_without_own_wording_is_asked_in_english_by_its_name():
    row = prompts.translation("Good day.", "Rojbaş.", "en-tr")
    assert prompts.messages(row)[0]["content"] == "Translate into Turkish:\nGood day."
    assert prompts.messages({**row, "language": "tr", "to": "en"})[0]["content"].startswith("Translate into English")


def test_pair_documents_name_both_languages_in_the_order_of_the_direction():
    assert prompts.pair_document("A cat.", "گربه.", "en-fa") == "English: A cat.\nفارسی: گربه."
    assert prompts.pair_document("A cat.", "گربه.", "fa-en") == "فارسی: گربه.\nEnglish: A cat."
    assert prompts.pair_prompt("A cat.", "en-fa") == "English: A cat.\nفارسی:"


@pytest.fixture
def frames():
    split = ["test" if number % 5 == 0 else "train" for number in range(40)]
    english = [f"sentence {chr(97 + n)}" + " on and on" * (n % 3) for n in range(40)]
    pairs = pandas.DataFrame({"source": "site", "split": split, "english": english,
                              "target": [f"جملهٔ {chr(1576 + n)}" for n in range(40)]})
    # The dialogue below repeats a test sentence: a twin that must not come back as an instruction.
    dialogues = pandas.DataFrame({"source": "chat", "split": "train", "language": ["fa", "en"],
                                  "prompt": ["سلام", "Sentence p"], "reply": ["درود", "hello"]})
    items = pandas.DataFrame([{**QUESTION, "split": "train"}, {**QUESTION, "split": "test", "question": "سگ"}])
    documents = pandas.DataFrame({"source": "hafez", "language": "fa", "split": ["train", "test"],
                                  "text": ["الا\nیا\nایها\nالساقی", "اگر\nآن\nترک\nشیرازی"]})
    return documents, pairs, dialogues, items


def test_no_test_row_or_twin_of_one_becomes_an_instruction(frames):
    rows, counts = prompts.instructions(*frames, "fa", total=200, per_source=100, longest=99, seed=0)
    shown = {*rows["text"], *map(str, rows["answer"])}
    for frame, column in zip(frames, ("text", "english", "prompt", "question")):
        assert not shown & set(frame.loc[frame["split"] == "test", column])
    assert "Sentence p" not in shown
    assert counts.set_index(["source", "language"]).loc[("chat", "en"), "held_out"] == 1


def test_examples_that_are_too_long_are_left_out_and_counted(frames):
    rows, counts = prompts.instructions(*frames, "fa", total=200, per_source=100, longest=20, seed=0)
    assert (rows["text"].str.len() + rows["answer"].astype(str).str.len()).max() <= 20
    assert counts.set_index(["source", "language"]).loc[("site", "en"), "too_long"] > 0
    assert (counts["found"] >= counts["held_out"] + counts["too_long"] + counts["kept"]).all()


def test_a_language_with_no_other_task_goes_on_with_its_texts(frames):
    documents, *others = frames
    lines = [f"μία φορά {chr(945 + n)} κι έναν καιρό ήταν ένα μικρό παιδί που ήθελε να δει όλο τον κόσμο" for n in range(8)]
    documents = pandas.DataFrame({"source": "own", "language": "el", "split": ["train"] * 6 + ["test"] * 2, "text": lines})
    rows, counts = prompts.instructions(documents, *(frame[:0] for frame in others), "el", total=4, per_source=9,
                                        longest=99, seed=0)
    assert set(rows["task"]) == {"continuation"} and len(rows) == 4 and counts["found"].sum() == 6
    assert all(f"{row.text} {row.answer}" in "".join(lines[:6]) for row in rows.itertuples())
    assert prompts.messages(rows.iloc[0])[0]["content"].startswith("Go on with this text:\nμία φορά")
    both = pandas.concat([documents, documents.assign(language="en")])
    tasks = prompts.derive(both, *others, "el", "train").groupby("language")["task"].agg(set)
    assert tasks["el"] == {"translation"} and "continuation" not in tasks["en"]
    rows, _ = prompts.instructions(both, *others, "el", total=200, per_source=99, longest=99, seed=0)
    assert {"continuation", "translation"} <= set(rows["task"])


def test_items_without_a_question_are_never_trained_on(frames):
    documents, pairs, dialogues, items = frames
    order = items.assign(task="word_order", question="", split="train")
    rows = prompts.derive(documents, pairs, dialogues, pandas.concat([items, order]), "fa", "train")
    assert "emoji_mcq" in set(rows["task"]) and "word_order" not in set(rows["task"])


def test_codes_with_a_hyphen_have_directions():
    assert [prompts.sides(way) for way in prompts.directions("zh-Hant")] == [("en", "zh-Hant"), ("zh-Hant", "en")]


def test_tasks_take_turns(frames):
    rows, _ = prompts.instructions(*frames, "fa", total=8, per_source=100, longest=99, seed=0)
    assert rows.loc[rows["language"] == "fa", "task"].value_counts().to_dict() == {
        "translation": 1, "dialogue": 1, "emoji_mcq": 1, "ghazal": 1}


def test_no_example_at_all_is_an_error_that_names_the_way_out(frames):
    with pytest.raises(ValueError, match="raise longest_example"):
        prompts.instructions(*frames, "fa", total=8, per_source=100, longest=1, seed=0)


def test_instructions_are_balanced_capped_counted_and_the_same_for_the_same_seed(frames):
    rows, counts = prompts.instructions(*frames, "fa", total=20, per_source=8, longest=99, seed=3)
    again, _ = prompts.instructions(*frames, "fa", total=20, per_source=8, longest=99, seed=3)
    other, _ = prompts.instructions(*frames, "fa", total=20, per_source=8, longest=99, seed=4)
    assert rows["language"].value_counts().to_dict() == {"en": 8, "fa": 8}
    assert rows.groupby(["source", "language"]).size().max() <= 8 and counts["kept"].sum() == len(rows)
    assert rows.to_dict("records")[0] == again.to_dict("records")[0]
    assert rows["text"].tolist() == again["text"].tolist() != other["text"].tolist()
    assert all(prompts.example(row)["completion"][0]["content"] for row in rows.to_dict("records"))
