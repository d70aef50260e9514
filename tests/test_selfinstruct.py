"""Self-instruct: what is parsed, what is rejected and why, and that nothing is lost when a run is stopped."""
import hashlib
import json
import time
from typing import NamedTuple

import fake_server
import pandas
import pytest

from lib import exhibits
from lib.engine import assets, paths, records
from lib.study import ch10_selfinstruct as selfinstruct
from lib.study import novelty, teacher
from lib.study.ch10_selfinstruct import Journal, Settings

SEEDS = [{"instruction": instruction, "input": None, "output": "Fine."} for instruction in (
    "Explain why the sky is blue.", "Write a recipe for lentil soup.", "Name three famous painters of the Renaissance.",
    "What is the capital of Peru?")]
TOPICS = "rivers stars bread winter music bridges clocks spiders trains maps glass honey wolves paper islands".split()
VERBS = ["Describe the history of {} in two sentences.", "Invent a riddle whose answer has to do with {}.",
         "Who was the first person to study {} carefully?", "Compare {} with something that children know well."]


class Reply(NamedTuple):
    text: str
    finish: str = "stop"
    error: str = ""
    seconds: float = 0.5
    tokens: int = 10


class Teacher:
    """Answers with two tasks that depend on the prompt alone; may die after so many replies, or fail at one."""

    def __init__(self, dies_after=None, fails_at=()):
        self.asked, self.dies_after, self.fails_at = 0, dies_after, fails_at

    def ask(self, prompts):
        for prompt in prompts:
            if self.asked == self.dies_after:
                raise KeyboardInterrupt
            self.asked += 1
            if self.asked in self.fails_at:
                yield Reply("", "error", "HTTP 500")
            else:
                yield Reply(_two(prompt[0]["content"]))


def _two(prompt):
    number = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
    asked = [VERBS[(number + place) % 4].format(TOPICS[(number // 7 + 3 * place) % len(TOPICS)]) for place in (0, 1)]
    return "\n###\n".join(f"{place}. Instruction: {text}\n{place}. Input: <noinput>\n{place}. Output: Well, it depends."
                          for place, text in enumerate(asked, 4))


def _settings(**changes):
    return Settings(**{"language": "en", "rounds": 3, "first_prompts": 2, "prompts": 3, **changes})


def _generate(folder, teacher, **changes):
    journal = Journal(folder / "replies.jsonl")
    return *selfinstruct.generate(SEEDS, teacher, journal, _settings(**changes), "a teacher"), journal


def _reason(task, pooled=(), **changes):
    settings = _settings(**changes)
    pool = novelty.Pool(settings.language, settings.threshold, pooled)
    return selfinstruct.examine({"input": None, "output": "An answer.", **task}, pool, settings)["reason"]


def test_a_numbered_list_is_parsed_with_and_without_inputs_rules_and_bold():
    reply = """Sure! Here they are:

4. Instruction: Add the numbers.
4. Input:
17
25
4. Output:
42
###
5. **Instruction:** Write a haiku
about **rain**.
**Input:** <noinput>
**Output:** Rain on the window
### Task 6:
Instruction: Sort: b, a
Output: a, b
###"""
    assert selfinstruct.parse(reply) == [
        {"instruction": "Add the numbers.", "input": "17\n25", "output": "42", "reason": ""},
        {"instruction": "Write a haiku\nabout **rain**.", "input": None, "output": "Rain on the window", "reason": ""},
        {"instruction": "Sort: b, a", "input": None, "output": "a, b", "reason": ""}]


def test_persian_tasks_with_persian_digits_are_parsed():
    reply = "۴. Instruction: نام سه رود ایران را بنویس.\n۴. Input: <noinput>\n۴. Output: کارون، زاینده‌رود، سفیدرود"
    assert selfinstruct.parse(reply) == [{"instruction": "نام سه رود ایران را بنویس.", "input": None,
                                          "output": "کارون، زاینده‌رود، سفیدرود", "reason": ""}]


@pytest.mark.parametrize("reply, reasons", [
    ("I cannot help with that.", []), ("", []), ("4. Write a story.\n5. Sing a song.", []),
    ("Instruction: Count.\nInput: 3", ["malformed"]), ("Output: 5", ["malformed"]),
    ("Instruction: a\nInput: b\nInput: c\nOutput: d", ["malformed"]),
    ("Instruction: a\nOutput: b\nInstruction: c\nInput:\nOutput:", ["", ""])])
def test_malformed_replies_give_reasons_and_never_an_error(reply, reasons):
    assert [task["reason"] for task in selfinstruct.parse(reply)] == reasons


def test_the_last_task_of_a_truncated_reply_is_cut_off():
    reply = "Instruction: a\nInput: b\nOutput: c\nInstruction: d\nInput: e\nOutput: f"
    assert [task["reason"] for task in selfinstruct.parse(reply, cut=True)] == ["", "cut off"]


@pytest.mark.parametrize("loop", ["\n", "\n***", "\n# * # * ", "\n---", "\n\n***", "*", "#", " ", "## ", "\n5."])
def test_a_teacher_that_loops_is_parsed_at_once(loop):
    began = time.perf_counter()
    for end in ("", "x"):
        for reply in (f"Instruction: a\nOutput: b{2000 * loop}{end}", f"Instruction: a\nInput:{2000 * loop}{end}"):
            assert len(selfinstruct.parse(reply)) == 1
    assert time.perf_counter() - began < 1


def test_rules_and_headings_between_tasks_are_no_part_of_them():
    for between in ("\n###\n", " ###\n", "\n\n---\n\n", "\n** Task 5 **\n", "\n## 5.\n", "\n5.\n", "\n===\r\n\nTask 5:\n"):
        tasks = selfinstruct.parse(f"Instruction: a\nOutput: 1. b\n2. c{between}Instruction: d\nOutput: e")
        assert [task["output"] for task in tasks] == ["1. b\n2. c", "e"], between


def test_what_is_rejected_and_why():
    assert _reason({"instruction": "Describe the sea in one sentence."}) == ""
    assert _reason({"instruction": "?!"}) == _reason({"instruction": "Describe the sea.", "output": " "}) == "empty"
    assert _reason({"instruction": "Summarise this page.", "input": "see https://example.org"}) == "link"
    assert _reason({"instruction": "یک شعر کوتاه بنویس"}) == "other script"
    assert _reason({"instruction": "Escribe una oración sobre el mar y la montaña."}) == "other language"
    assert _reason({"instruction": "یک شعر کوتاه دربارهٔ باران بنویس"}, language="fa") == ""
    assert _reason({"instruction": "اكتب قصة قصيرة عن القط والفأر في المدينة"}, language="fa") == "other language"
    assert _reason({"instruction": "Explain why the sky is so blue."}, ["Explain why the sky is blue."]) == "similar"


def test_a_language_that_the_identifier_has_no_label_of_is_not_refused_for_it():
    assert _reason({"instruction": "چیرۆکێکی کورت دەربارەی پشیلەیەک بنووسە"}, language="ckb") == ""
    assert _reason({"instruction": "Write a short story about a cat"}, language="ckb") == "other script"


def test_inputs_that_repeat_the_instruction():
    whole = {"instruction": "Translate the word cat into French.", "input": "the word cat"}
    settings = _settings()
    found = selfinstruct.examine({**whole, "output": "chat"}, novelty.Pool("en"), settings)
    assert (found["input"], found["blanked"], found["reason"]) == (None, True, "")
    near = {"instruction": "Translate the word cat into French.", "input": "translate this word cat to French"}
    assert _reason(near) == "repeats input" and _reason(near, overlap=0.9) == ""


def test_limits_by_language():
    limits = ["other 0.5", "ko 0.3"]
    assert (selfinstruct.limit(limits, "ko"), selfinstruct.limit(limits, "fa")) == (0.3, 0.5)
    for bad in (["ko 0.3"], ["other 5"], ["other 30"], ["other half"], ["0.5"]):
        with pytest.raises(ValueError, match="other 0.5"):
            selfinstruct.limit(bad, "fa")


def test_a_gloss_is_no_other_script():
    glossed = {"instruction": "好きな食べ物は何ですか？ (What is your favorite food?)"}
    assert _reason(glossed, language="ja") == "other script"
    assert _reason(glossed, language="ja", script_share=0.1) == ""
    assert _reason({"instruction": "Name three shrines in Japan."}, language="ja", script_share=0.1) == "other script"


def test_another_model_in_the_same_folder_is_another_source(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = selfinstruct.source(str(tmp_path), "", 128, 0.7)
    assert before == selfinstruct.source(str(tmp_path), "", 128, 0.7) != selfinstruct.source(str(tmp_path), "", 64, 0.7)
    (tmp_path / "config.json").write_text("[]")
    assert before != selfinstruct.source(str(tmp_path), "", 128, 0.7)
    assert selfinstruct.source("m", "http://127.0.0.1/v1", 8) == "m http://127.0.0.1/v1 8"


def test_rounds_show_seeds_first_and_a_generated_task_later(tmp_path):
    class Listener(Teacher):
        heard = []

        def ask(self, prompts):
            self.heard.append([prompt[0]["content"] for prompt in prompts])
            return super().ask(prompts)

    tasks, replies, _ = _generate(tmp_path, Listener())
    assert [len(prompts) for prompts in Listener.heard] == [2, 3, 3] and len(replies) == 8
    seeds = [[sum(seed["instruction"] in prompt for seed in SEEDS) for prompt in prompts] for prompts in Listener.heard]
    assert seeds == [[3, 3], [2] * 3, [2] * 3]
    assert "Write the other 17" in Listener.heard[0][0] and "written in English" in Listener.heard[0][0]
    assert set(tasks["reason"]) <= {"", *selfinstruct.REASONS} and (tasks["reason"] == "").sum() >= 4
    kept = tasks.loc[tasks["reason"] == "", "instruction"].tolist()
    pool = novelty.Pool("en", instructions=[seed["instruction"] for seed in SEEDS])
    assert not any(pool.near_or_new(instruction) for instruction in kept)


def test_a_stopped_run_comes_to_the_same_tasks_and_asks_nothing_twice(tmp_path):
    whole, _, _ = _generate(tmp_path / "a", Teacher())
    with pytest.raises(KeyboardInterrupt):
        _generate(tmp_path / "b", Teacher(dies_after=4))
    path = tmp_path / "b/replies.jsonl"
    with open(path, "a") as stream:
        stream.write('{"prompt": "half a li')
    teacher = Teacher()
    again, replies, journal = _generate(tmp_path / "b", teacher)
    assert again.equals(whole) and teacher.asked == 4 and journal.damaged == 1
    assert sum("prompt" in json.loads(line) for line in path.read_text().splitlines()) == 8
    finished = Teacher(dies_after=0)
    assert _generate(tmp_path / "b", finished)[0].equals(whole) and finished.asked == 0


def test_a_bad_reply_costs_no_other_and_is_asked_again_while_its_round_is_the_last(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _generate(tmp_path, Teacher(dies_after=4, fails_at={1, 4}))
    teacher = Teacher()
    _, replies, _ = _generate(tmp_path, teacher)
    assert replies["outcome"].tolist() == ["error", *["tasks"] * 7] and replies["error"][0] == "HTTP 500"
    assert teacher.asked == 5  # the second reply of round 2, that had failed, among them


def test_a_finished_run_asks_nothing_though_its_last_reply_failed(tmp_path):
    tasks, first, _ = _generate(tmp_path, Teacher(fails_at={8}))
    teacher = Teacher(dies_after=0)
    again, replies, _ = _generate(tmp_path, teacher)
    assert teacher.asked == 0 and again.equals(tasks) and replies.equals(first) and first["outcome"][7] == "error"
    _generate(tmp_path, teacher := Teacher(), rounds=4)
    assert teacher.asked == 3


def test_no_rounds_give_empty_frames(tmp_path, record):
    tasks, replies, _ = _generate(tmp_path, Teacher(), rounds=0)
    assert tasks.empty and replies.empty
    selfinstruct.note(record, _settings(), tasks, replies)
    assert not record.content["metrics"]


def test_rounds_go_over_http_and_what_a_server_repeats_is_similar(tmp_path):
    """The stand-in server says the prompt again, demonstrations and all."""
    with fake_server.serve() as server:
        model = teacher.open("m", endpoint=server.url, max_new_tokens=8, temperature=0.0, seed=0, timeout=20.0,
                             retries=0, batch_size=2)
        tasks, replies, _ = _generate(tmp_path, model, rounds=1)
    assert replies["outcome"].tolist() == ["tasks", "tasks"] and replies["tokens"].sum() == 6
    assert len(tasks) == 6 and set(tasks["reason"]) == {"similar"}


def test_half_a_character_stops_nothing(tmp_path):
    class Broken:
        def ask(self, prompts):
            return (Reply("Instruction: Sing a loud song.\nOutput: La \ud83d") for _ in prompts)

    tasks, _, _ = _generate(tmp_path, Broken(), rounds=1)
    assert tasks["output"].tolist() == ["La ?"] * 2 and selfinstruct.write(tmp_path / "en.jsonl", tasks).exists()


def test_another_teacher_or_seed_is_asked_anew(tmp_path):
    _generate(tmp_path, Teacher())
    teacher = Teacher()
    selfinstruct.generate(SEEDS, teacher, Journal(tmp_path / "replies.jsonl"), _settings(), "another teacher")
    assert teacher.asked == 8


def test_the_set_is_written_as_multialpaca_is_and_read_back(tmp_path):
    tasks, _, _ = _generate(tmp_path, Teacher())
    path = selfinstruct.write(tmp_path / "en.jsonl", tasks)
    lines = path.read_text("utf8").splitlines()
    assert len(lines) == (tasks["reason"] == "").sum() and '"input": null' in lines[0]
    assert list(json.loads(lines[0])) == ["instruction", "input", "output"]
    assert {task["input"] for task in selfinstruct.read(path)} == {None}


@pytest.fixture
def record(output, monkeypatch):
    """An open record of the chapter in profile smoke."""
    return records.Record("10_multialpaca", {"profile": "smoke", "seed": 0, "teacher": "a teacher"}, {})


def test_every_task_is_counted_in_the_record(record, tmp_path):
    tasks, replies, _ = _generate(tmp_path, Teacher(fails_at={2}))
    selfinstruct.note(record, _settings(), tasks, replies)
    selfinstruct.card(record, "en", "generated", tasks[tasks["reason"] == ""].to_dict("records"))
    record.rows("examples", selfinstruct.examples(tasks, "en", 1))
    record.write()
    facts, metrics = records.facts("smoke", "10_multialpaca"), records.metrics("smoke", "10_multialpaca")
    sums = facts.groupby("fact")["value"].sum()
    assert sums["generated"] == len(tasks) == sums["kept"] + sums["rejected"] and sums["replies"] == 8
    overall = metrics[metrics["metric"] == "survival_overall"].iloc[0]
    assert overall["n"] == 7 and overall["low"] < overall["value"] < overall["high"]
    assert overall["value"] == (tasks["reason"] == "").mean()


def test_shares_rest_on_replies_and_the_yield_on_what_was_asked_for(record):
    """Two prompts for ten tasks: one reply of four tasks that are all kept, one that failed."""
    settings = _settings(rounds=1, asked=10)
    tasks = pandas.DataFrame([{"round": 1, "prompt": 0, "reason": "", "blanked": False}] * 4)
    replies = pandas.DataFrame([[1, outcome, False, 5, 1.0, ""] for outcome in ("tasks", "error")],
                               columns=selfinstruct.REPLY)
    selfinstruct.note(record, settings, tasks, replies)
    found = {row["metric"]: row for row in record.content["metrics"]}
    assert (found["yield"]["value"], found["yield"]["n"]) == (0.2, 2)
    assert (found["survival"]["value"], found["survival"]["n"]) == (1, 1) and found["survival"]["low"] < 0.3


def test_exhibits_say_what_the_record_says(record, tmp_path):
    tasks, replies, _ = _generate(tmp_path, Teacher(fails_at={2}))
    kept = tasks[tasks["reason"] == ""].to_dict("records")
    selfinstruct.note(record, _settings(), tasks, replies)
    record.fact("seeds", 4, "tasks", language="en", origin="released tasks")
    selfinstruct.card(record, "en", "generated", kept)
    selfinstruct.card(record, "es", "released", kept)
    selfinstruct.note_survey(record, "es", selfinstruct.survey(tasks[list(selfinstruct.PARTS)].to_dict("records"), _settings()))
    record.rows("examples", selfinstruct.examples(tasks, "en", 1))
    frame, reading = exhibits.TABLES["P3-T4"].build("smoke")
    ours = frame[frame["set"] == "released"].iloc[0]
    assert (ours["tasks"], ours["paper's tasks"], ours["empty inputs"]) == (len(kept), 9958, len(kept))
    assert frame["made from"].tolist()[:2] == ["released tasks", ""] and "en from seeds that are released" in reading
    assert frame.iloc[-1]["paper's tasks"] == 132701 and "0 of 1 released files" in reading
    reading = exhibits.save("P3-F5", "smoke")
    assert "survive" in reading and "of the released ones at least" in reading and "% (es, n = " in reading


def test_exhibits_hold_without_teacher_and_files(record):
    record.fact("seeds", 0, "tasks", language="es", origin="none")
    assert "could not be had" in exhibits.TABLES["P3-T4"].build("smoke")[1]
    with pytest.raises(exhibits.Lacking, match="No task was generated"):
        exhibits.save("P3-F5", "smoke")


def test_derived_rows_become_tasks():
    rows = pandas.DataFrame([
        {"task": "translation", "language": "fa", "text": "سلام دنیا", "answer": "Hello world", "to": "en"},
        {"task": "passage", "language": "fa", "text": "کتاب", "answer": "کتاب خوب است.", "to": None},
        {"task": "dialogue", "language": "en", "text": "hi", "answer": "hello", "to": None}])
    assert selfinstruct.derived(rows, "fa") == [
        {"instruction": "به انگلیسی ترجمه کن:", "input": "سلام دنیا", "output": "Hello world"},
        {"instruction": "زیر عنوان «کتاب» یک بند بنویس.", "input": None, "output": "کتاب خوب است."}]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Small stand-ins of the published files where COMPANION_DATA looks for them."""
    seeds = [{"id": "seed_task_0", "name": name, "instruction": f"Do {name} well.", "is_classification": False,
              "instances": [{"input": "", "output": "Done."}]} for name in (*selfinstruct.CULTURE_BOUND, "sorting")]
    rows = [{"instruction": f"Haz {number} cosas {'muy ' * number}distintas.", "input": None, "output": "Sí."}
            for number in range(9)]
    for name, path, content in ((selfinstruct.SEEDS, "seed_tasks.jsonl", seeds),
                                (selfinstruct.RELEASED, "multialpaca/es.jsonl", rows)):
        asset = assets.entry(name)
        place = tmp_path / asset["repository"] / asset["commit"] / path
        place.parent.mkdir(parents=True)
        place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), "utf8")
        monkeypatch.setitem(asset["files"], path, hashlib.sha256(place.read_bytes()).hexdigest())
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))


def test_the_culture_filter_is_a_parameter(files):
    tasks, left_out = selfinstruct.seed_tasks(["culture-bound"])
    assert [task["instruction"] for task in tasks] == ["Do sorting well."] and len(left_out) == 13
    assert len(selfinstruct.seed_tasks([])[0]) == 14 and len(selfinstruct.seed_tasks(["sorting"])[0]) == 13
    with pytest.raises(ValueError, match="No seed task is called nonsense"):
        selfinstruct.seed_tasks(["nonsense"])


def test_seeds_come_from_the_language_where_they_can(files):
    own = [{"instruction": "چرا آسمان آبی است؟", "input": None, "output": "برای نور."}] * 3
    released = selfinstruct.released("es")
    spanish, persian = _settings(language="es"), _settings(language="fa")
    found, origin = selfinstruct.choose_seeds({"released": released, "derived": [], "seed": SEEDS}, spanish, 4)
    assert origin == "released" and len(found) == 3 and all("cosas" in task["instruction"] for task in found)
    candidates = {"released": None, "derived": own, "seed": SEEDS}
    assert selfinstruct.choose_seeds(candidates, persian, 4) == (own[:1], "derived")
    found, origin = selfinstruct.choose_seeds({"derived": [], "seed": SEEDS}, _settings(language="de"), 2)
    assert origin == "seed" and len(found) == 2
    assert selfinstruct.choose_seeds({"seed": []}, spanish, 4) == ([], "none")


def test_a_published_set_goes_through_the_same_checks(files):
    found = selfinstruct.survey(selfinstruct.released("es"), _settings(language="es"))
    assert len(found) == 9 and (found["reason"] == "similar").sum() == 5
    assert len(selfinstruct.survey(selfinstruct.released("es"), _settings(language="es"), 5)) == 5


def test_training_dialogues_stand_in_for_seed_tasks():
    rows = pandas.DataFrame([("es", "train", "¿Quién eres?", "Un robot."), ("es", "test", "¿Qué?", "Nada."),
                             ("fa", "train", "کیستی؟", "من.")], columns=["language", "split", "prompt", "reply"])
    assert selfinstruct.spoken(rows, "es") == [{"instruction": "¿Quién eres?", "input": None, "output": "Un robot."}]


def test_seeds_can_be_translated_by_the_teacher(tmp_path):
    class Translator:
        def ask(self, prompts):
            for prompt in prompts:
                good = "sky" in prompt[0]["content"]
                yield Reply("1. Instruction: توضیح بده چرا آسمان آبی است.\n1. Input: <noinput>\n1. Output: خوب."
                            if good else "Sorry.")

    tasks, lost = selfinstruct.translated(SEEDS, Translator(), Journal(tmp_path / "r.jsonl"),
                                          _settings(language="fa"), "t")
    assert [task["instruction"] for task in tasks] == ["توضیح بده چرا آسمان آبی است."] and lost == 3


def test_the_registry_names_the_files_of_the_paper():
    assert selfinstruct.published() == ["es", "ja", "pt"] and (paths.ROOT / "lib/engine/assets.yaml").exists()
