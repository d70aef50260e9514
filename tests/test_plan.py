"""A profile planned for a language: it fits text and hours, says why, passes the checks, and its chapters run."""
import re

import languages
import pytest

from lib.data import text
from lib.engine import launch, params, paths, records, run, sweep
from lib.model import folders
from lib.study import doses, plan

CORE = [chapter for chapter in run.UPSTREAM if chapter < "07"]
HERE = plan.Machine(1000.0, 2.0, 8, 128, 135_000_000, 500, 5.0, 1.5, 4.0)


@pytest.fixture
def base(byte_tokenizer, tiny_model, tmp_path):
    return folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path / "base")


@pytest.fixture
def planned(base, output, monkeypatch, capsys):
    """`planned(code, *more)`: what the command says of a text of 500 sentences in a folder; it writes params/<code>/."""
    def made(code: str, *more) -> str:
        (output / "texts").mkdir()
        (output / "texts/own.txt").write_text("\n".join(line for _, line in languages.sentences(code, 500)), "utf8")
        monkeypatch.setattr(paths, "PARAMS", output / "params")
        status = plan.main(["--language", code, "--corpus", str(output / "texts"), "--base", str(base), "--hours", "0.1", *more])
        told = capsys.readouterr()
        assert status == 0, told.err
        return told.out
    return made


def _text(size: int) -> plan.Text:
    return plan.Text("hi", "Devanagari", [paths.ROOT / "texts/a.txt"], size, [])


@pytest.mark.parametrize("code", ["ar", "hi", "th"])
def test_a_plan_for_any_script_passes_the_checks_and_gives_a_reason_for_every_value(code, planned, monkeypatch, capsys):
    monkeypatch.setitem(languages.LANGUAGES, "ar", ("Arabic", *languages.LANGUAGES["ckb"][1:]))
    told = planned(code, "--rate", "2000")
    assert f"tokens a {text.unit(text.script(code))} instead of" in told and f"make reproduce PROFILE={code}" in told
    for chapter in run.UPSTREAM:
        params.load(code, chapter)
        lines = paths.parameters(code, chapter).read_text("utf8").splitlines()
        assert lines[0].startswith("# Planned for 0.1 hours") and lines[1] == f"profile: {code}"
        assert all(re.fullmatch(r"\w+: .+  # .+", line) for line in lines[2:]), lines
    monkeypatch.setattr(sweep, "files", lambda: [])
    assert sweep.main([]) == 0 and f"{len(run.UPSTREAM)} parameter files are valid." in capsys.readouterr().out
    corpus = params.load(code, "01_corpus")
    assert (corpus["language"], corpus["script"], corpus["sources"]) == (code, text.script(code), [])


@pytest.mark.chain
def test_the_machine_is_measured_and_the_chapters_run_with_what_was_planned(planned, output, monkeypatch):
    monkeypatch.setattr(plan, "TRIAL", 0.5)
    told = planned("hi")
    with open(paths.parameters("hi", "01_corpus"), "a", encoding="utf8") as file:
        file.write("outside: []\n")  # nothing is fetched
    rate = float(re.search(r"Machine: ([\d,]+) tokens/s of training, [\d.]+ GiB", told)[1].replace(",", ""))
    assert rate > 100
    for chapter in CORE[:2]:
        languages.execute("hi", chapter)
    assert records.load("hi", "02_tokenizer")["parameters"]["size"] == params.load("hi", "02_tokenizer")["size"]


def test_doses_follow_the_hours_until_the_text_has_been_read_often_enough():
    def third(size, hours):
        chosen = plan.choose("smollm2-135m", _text(size), HERE, hours)
        return {name: value for name, (value, _) in (chosen["03_pretraining"] | chosen["02_tokenizer"]).items()}
    small, twice, short = third(10**8, 1), third(10**8, 2), third(10**6, 2)
    assert 1.9 < twice["budget_bytes"] / small["budget_bytes"] < 2.2 and twice["size"] > small["size"]
    assert short["budget_bytes"] <= 4 * 10**6 and short["size"] < twice["size"] and short["main_runs"] == 3
    assert small["main_runs"] == 1 and small["batch_size"] == 8
    slow = plan.choose("a/b", _text(10**8), HERE._replace(parameters=7e9), 1)["03_pretraining"]
    assert slow["learning_rate"][0] == 2e-4 and small["learning_rate"] == 1e-3


def test_the_minutes_add_up_to_about_the_hours():
    for hours in (1, 2, 8):
        found = _text(10**8)
        took = plan.minutes(plan.choose("smollm2-135m", found, HERE, hours), found, HERE)
        assert list(took) == CORE and 0.75 * hours < sum(took.values()) / 60 < 1.25 * hours


@pytest.mark.parametrize("rate, over", [(1000.0, False), (20.0, True)])
def test_hours_that_tests_alone_would_take_are_told(rate, over, capsys):
    found, here = _text(10**7), HERE._replace(rate=rate)
    plan.tell("xx", plan.choose("smollm2-135m", found, here, 0.5), found, here, 0.5)
    assert ("That is more than you gave" in capsys.readouterr().out) == over


def test_pairs_bring_a_second_arm_and_their_file():
    chosen = plan.choose("smollm2-135m", _text(10**7), HERE, 1, [paths.ROOT / "texts/pairs.tsv"])
    alone = plan.choose("smollm2-135m", _text(10**7), HERE, 1)
    assert chosen["01_corpus"]["pair_files"][0] == ["texts/pairs.tsv"] and "pair_files" not in alone["01_corpus"]
    assert chosen["04_alignment"]["budget_bytes"][0] * 2 == pytest.approx(alone["04_alignment"]["budget_bytes"][0], abs=2)


@pytest.mark.parametrize("given, words", [
    (["--language", "ckb", "--corpus", "nowhere.txt"], "There is no file"),
    (["--language", "ckb", "--corpus", "."], "holds no file of the kinds"),
    (["--dry-run", "laptap"], "profiles that have one")])
def test_what_cannot_be_planned_is_told_in_a_sentence(given, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert plan.main(given) == 1
    assert words in capsys.readouterr().err


def test_too_little_and_a_taken_name_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="less than 20 steps"):
        plan.choose("smollm2-135m", _text(1000), HERE, 1)
    with pytest.raises(params.ParameterError, match="'smoke' is there already"):
        plan.write("smoke", {}, "")


def test_a_dry_run_counts_the_trainings_that_a_profile_has_beside_its_main_ones():
    runs = doses.needs("full").groupby("chapter")["runs"].sum()
    given = {name: params.load("full", name) for name in runs.index}
    fourth, fifth, twelfth = (given[name] for name in ("04_alignment", "05_sft", "12_rank_and_precision"))
    assert runs["04_alignment"] == len(fourth["arms"]) * len(fourth["seeds"]) + 4 * len(fourth["factorial_bytes"]) * len(fourth["factorial_seeds"])
    seventh = given["07_base_strength"]  # stages of both bases, read and told; the ladder; each method; each language alone
    assert runs["07_base_strength"] == len(seventh["seeds"]) * (2 * 2 + 2 * len(seventh["stages"]) + len(seventh["methods"]) + 2)
    assert runs["05_sft"] == len(fifth["starts"]) + len(fifth["orders"]) * len(fifth["order_seeds"])
    assert runs["12_rank_and_precision"] > len(twelfth["rates"]) * len(twelfth["ranks"]) and runs.min() > 0


def test_a_dry_run_tells_what_the_papers_settings_ask_of_gpus(capsys):
    assert plan.main(["--dry-run", "paper"]) == 0
    told = capsys.readouterr().out
    found = doses.needs("paper")
    chapters = [name for name in run.UPSTREAM if "warmup" in params.defaults(name)]
    assert list(dict.fromkeys(found["chapter"])) == chapters and all(name in told for name in chapters)
    assert "8 GPUs" in told and "kWh" in told and (found["GiB a GPU"] < 80).all()
    # 8 GPUs of 700 W; memory holds the weights: 2 bytes each under adapters, 4 where they are trained.
    assert found["kWh"].sum() == pytest.approx(8 * 0.7 * found["hours"].sum())
    assert found.query("trains == 'lora'")["GiB a GPU"].min() > 12.6 < found.query("trains == 'full'")["GiB a GPU"].min() / 2
    main = found.iloc[0]
    assert main["million tokens"] == pytest.approx(params.load("paper", "03_pretraining")["budget_bytes"] / doses.bytes_per_token() / 1e6)
    assert doses.needs("paper", rate=5000)["hours"].iloc[0] == pytest.approx(main["million tokens"] * 1e6 / 5000 / 8 / 3600)
    assert launch.load("paper").processes == 8


def test_one_gpu_measured_is_told_as_it_was_measured():
    """The scaling gives back the measurement that it starts from."""
    bench = records.read(paths.ROOT / "figures/bench/gpu.json")
    model = doses.shape("meta-llama/Llama-2-7b-hf@x")
    assert model.num_parameters() == 6_738_415_616
    assert doses.trained(model, "lora", bench["rank"], 0) == 19_988_480
    assert doses.trained(model, "full", 8, 0) == model.num_parameters()
