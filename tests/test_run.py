"""The engine on a small house of two chapters: what runs, why, what is left, and how it stops."""
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time

import psutil
import pytest
from house import END, build, call, environment, lives, write

from lib.engine import assets, keys, params, paths, records, run


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A checkout of lib/ and the Snakefile with two tiny chapters."""
    return build(tmp_path_factory.mktemp("house"))


def _run(root, *arguments):
    """The command of `make reproduce` in that checkout; (exit status, what it printed)."""
    return call(root, "lib.engine.run", *arguments, "--profile", "smoke")


def test_what_lacked_public_files_runs_again_when_they_are_there_and_nothing_else(tmp_path):
    root, data = build(tmp_path / "house"), tmp_path / "data"
    data.mkdir()
    entry = assets.entry("alpaca-seed-tasks")
    root.joinpath("lib/engine/assets.yaml").write_text("alpaca-seed-tasks: {kind: files, title: Alpaca's seed tasks, licence: none, "
                                                f"repository: a/b, commit: c, files: {{x.txt: {'0' * 64}}}}}\n")
    (root / "lib/engine/assets.tsv").write_text("asset\tfile\tsha256\n")
    write(root, "01_corpus", 'record.lack({"alpaca-seed-tasks": "Alpaca\'s seed tasks"})\n' + END)
    away = {"COMPANION_REACH": "pip", "COMPANION_DATA": str(data), "COMPANION_CACHE": str(tmp_path / "cache")}
    status, printed = call(root, "lib.engine.run", "all", "--profile", "smoke", **away)
    assert status == 0 and "Reached: Python packages. Not reached: Debian packages" in printed
    assert printed.count("Not at hand: Alpaca's seed tasks; rows made from the corpus stand in.") == 1
    assert "Nothing to be done" in call(root, "lib.engine.run", "all", "--profile", "smoke", **away)[1]
    assert entry["title"] == "Alpaca's seed tasks"
    (data / "a/b/c").mkdir(parents=True)
    (data / "a/b/c/x.txt").write_text("")
    digest = hashlib.sha256(b"").hexdigest()
    registry = root / "lib/engine/assets.yaml"
    registry.write_text(registry.read_text().replace("0" * 64, digest))
    write(root, "01_corpus", END)
    status, printed = call(root, "lib.engine.run", "all", "--profile", "smoke", **away)
    assert status == 0 and "because Alpaca's seed tasks can be had now" in printed, printed


def test_what_the_chapters_import_is_there_before_they_are_forked():
    script = ("import sys\nfrom lib.engine import keys, run\nrun.prepare(*run.chapters())\n"
              "lacking = [name for chapter in run.chapters() for file in keys.code(keys.source(chapter), ())\n"
              "           if file.endswith('.py') and 'tasks' not in file and (name := file[:-3].replace('/', '.').removesuffix('.__init__')) not in sys.modules]\n"
              "print(sorted(set(lacking)), 'papermill' in sys.modules, 'ipykernel.ipkernel' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.stdout == "[] True True\n", done


@pytest.mark.parametrize("options, prepared", [([], 1), (["--cores", "2"], 1), (["--executor", "slurm"], 0), (["--profile", "x"], 0)])
def test_nothing_is_prepared_here_for_chapters_that_run_elsewhere(options, prepared, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(run.forks, "serving", lambda *given: asked.append(given) or contextlib.nullcontext({"FORKS": "here"}))
    monkeypatch.setattr(run.subprocess, "Popen", lambda command, env, **rest: "FORKS" in env)
    with open(tmp_path / "lock", "w") as lock, run.snakemake(lock, ["01_corpus"], options) as told:
        assert told == bool(prepared) and [given[1:] for given in asked] == [(run.PREPARE, "01_corpus")] * prepared


@pytest.mark.parametrize("took, told", [
    ({"a": 2, "b": 10}, "about 12 min"), ({"a": 2}, "about 2 min and 1 of unknown length"), ({}, "of unknown length")])
def test_what_was_never_measured_is_not_announced_as_nothing(monkeypatch, took, told):
    monkeypatch.setattr(run, "minutes", lambda _, chapter: took.get(chapter))
    assert run._total("night", ["a", "b"]) == told


def test_it_announces_runs_and_then_has_nothing_to_do(house):
    status, printed = _run(house, "all")
    assert status == 0, printed
    assert "2 of 2 chapters to run, about 60 s" in printed
    assert re.search(r"01_corpus +30 s +because it has no record yet", printed)
    assert "hello from 3" in printed and "1 left, about 30 s" in printed and "nothing left" in printed
    status, printed = _run(house, "all")
    assert status == 0 and printed.strip().endswith(
        "Nothing to be done: all 2 chapters of profile smoke are up to date."), printed


def test_a_changed_parameter_reruns_its_chapter_only_and_says_why(house):
    (house / "params/smoke/02_tokenizer.yaml").write_text("profile: smoke\nrows: 5\n")
    os.utime(house / "notebooks/01_corpus.ipynb")
    status, printed = _run(house, "all")
    assert status == 0 and "1 of 2 chapters to run" in printed, printed
    assert "because parameter rows changed" in printed and "hello from 5" in printed


def test_a_file_of_the_user_makes_the_chapter_that_names_it_stale(house):
    own, written = house / "own.txt", house / "params/smoke/02_tokenizer.yaml"
    before = written.read_text()
    own.write_text("a text\n")
    written.write_text(before + "file: own.txt\n")
    assert "hello" in _run(house, "all")[1] and "Nothing to be done" in _run(house, "all")[1]
    own.write_text("another\n")
    assert "because file own.txt changed" in _run(house, "all")[1]
    written.write_text(before)
    assert keys.named({"el": ["no such file", 3], "ar": "x" * 5000, "hi": [str(own)]}) == [own]


def test_a_wrong_parameter_is_refused_before_a_kernel_starts(house):
    (house / "params/smoke/02_tokenizer.yaml").write_text("profile: smoke\nrow: 5\n")
    status, printed = _run(house, "all")
    (house / "params/smoke/02_tokenizer.yaml").write_text("profile: smoke\nrows: 5\n")
    assert status == 1 and printed.count("\n") == 1
    assert "params/smoke/02_tokenizer.yaml: unknown key `row` (value 5)" in printed and "`rows`" in printed


def test_a_failing_cell_is_told_in_a_sentence(house):
    write(house, "02_tokenizer", 'raise ValueError("The corpus is empty: give a file.")')
    status, printed = _run(house, "all")
    write(house, "02_tokenizer", END)
    assert status == 1 and "Traceback" not in printed
    assert "Chapter 02_tokenizer stopped in cell" in printed
    assert "ValueError: The corpus is empty: give a file." in printed
    assert "runs/smoke/02_tokenizer/notebook.ipynb" in printed


def test_a_chapter_without_its_record_is_told(house):
    write(house, "02_tokenizer", "pass")
    status, printed = _run(house, "02_tokenizer")
    assert status == 1 and "without writing its record" in printed


def test_code_that_is_reached_makes_a_chapter_stale_but_comments_and_presentation_do_not(house):
    write(house, "02_tokenizer", END)
    _run(house, "all")
    for name in ("lib/engine/statistics.py", "lib/exhibits/base.py"):
        (house / name).write_text((house / name).read_text().replace('\n"""\n', '\nAnd more.\n"""\n# a comment\n', 1))
    (house / "lib/exhibits/base.py").open("a").write("\nMORE = 1\n")
    assert "Nothing to be done" in _run(house, "all")[1]
    (house / "lib/engine/statistics.py").open("a").write("\nMORE = 1\n")
    printed = _run(house, "all")[1]
    assert "because lib/engine/statistics.py changed" in printed and "2 of 2 chapters" in printed, printed


def test_chapters_that_have_not_run_are_offered_with_their_minutes_and_run_by_one_command(tmp_path, monkeypatch):
    root = build(tmp_path)
    monkeypatch.setenv("COMPANION_OUTPUT", str(root))
    assert run.offer("laptop", "04_alignment") == (
        "04_alignment rests on chapters that have not run here: `!python -m lib.engine.run 01_corpus 02_tokenizer "
        "03_pretraining --profile laptop` (about 10 min).")
    assert run.offer("colab", "02_tokenizer").endswith("`!python -m lib.engine.run 01_corpus --profile colab`.")
    assert not run.offer("laptop", "01_corpus") and not run.offer("laptop", "14_paper")
    status, printed = _run(root, "01_corpus", "02_tokenizer")
    assert status == 0 and printed.count("done in") == 2, printed
    assert not run.offer("smoke", "02_tokenizer")


def test_an_unknown_chapter_among_several_is_told_before_any_runs(house):
    status, printed = _run(house, "01_corpus", "02_tokeniser")
    assert status == 1 and printed.count("\n") == 1 and "`02_tokenizer`" in printed, printed


def test_a_second_run_of_a_profile_is_told_to_wait(house, monkeypatch):
    import fcntl
    monkeypatch.setenv("COMPANION_OUTPUT", str(house))
    monkeypatch.setattr(run, "chapters", list)
    (house / "runs/smoke").mkdir(parents=True, exist_ok=True)
    with open(house / "runs/smoke/.running", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4242")
        lock.flush()
        with pytest.raises(run.ChapterError, match="already being run by process 4242"):
            run.all_chapters("smoke", [])


def test_a_relative_output_is_where_the_command_was_given(house):
    write(house, "02_tokenizer", END)
    for _ in range(2):
        status, printed = call(house, "lib.engine.run", "all", "--profile", "smoke", COMPANION_OUTPUT="elsewhere")
        assert status == 0, printed
    assert "Nothing to be done" in printed
    found = sorted(path.relative_to(house).as_posix() for path in house.rglob("record.json")
                   if "elsewhere" in path.parts)
    assert found == [f"elsewhere/runs/smoke/{chapter}/record.json" for chapter in ("01_corpus", "02_tokenizer")]


@pytest.mark.parametrize("module, arguments", [("lib.engine.run", ["all", "--profile", "smoke"]), ("lib.engine.sweep", [])])
@pytest.mark.parametrize("variable, named, words", [
    ("COMPANION_DATA", "nowhere", "there is no such folder"), ("COMPANION_OUTPUT", "Snakefile", "which is a file")])
def test_a_folder_that_cannot_be_used_is_told_before_anything_runs(house, module, arguments, variable, named, words):
    status, printed = call(house, module, *arguments, **{variable: named})
    assert status == 1 and printed.count("\n") == 1, printed
    assert f"{variable} names {house / named}" in printed and words in printed


def test_minutes_are_those_of_the_last_run_here_and_else_those_of_the_file(output, monkeypatch, capsys):
    file = output / "minutes.yaml"
    file.write_text("laptop: {01_corpus: 2, 02_tokenizer: 3}\nfull: {01_corpus: 9}\n")
    monkeypatch.setattr(run, "MINUTES", file)
    records.write_json(run.record("laptop", "01_corpus"), {"measured": {"seconds": 90}})
    assert [run.minutes("laptop", chapter) for chapter in ("01_corpus", "02_tokenizer", "05_sft")] == [1.5, 3, None]
    assert run.main(["--minutes", "laptop"]) == 0 and "minutes of 1 chapters of profile laptop" in capsys.readouterr().out
    assert params.read(file) == {"laptop": {"01_corpus": 1.5, "02_tokenizer": 3}, "full": {"01_corpus": 9}}


def test_folders_are_named_from_home_from_here_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable in paths.VARIABLES:
        monkeypatch.setenv(variable, "")
    paths.settle()
    assert (paths.output(), paths.data()) == (paths.ROOT, None)
    assert paths.cache() == tmp_path / ".cache/persian-llm-companion"
    for variable, place in zip(paths.VARIABLES, ("out", "~/cache", "~")):
        monkeypatch.setenv(variable, place)
    paths.settle()
    monkeypatch.chdir("/")
    assert (paths.output(), paths.cache(), paths.data()) == (tmp_path / "out", tmp_path / "cache", tmp_path)
    assert paths.named("~/a.txt") == tmp_path / "a.txt" and paths.named("a/b.txt") == paths.ROOT / "a/b.txt"


def test_a_polite_kill_ends_the_run_and_its_children(tmp_path):
    root = build(tmp_path / "house")
    write(root, "01_corpus", "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)")
    started = subprocess.Popen([sys.executable, "-m", "lib.engine.run", "all", "--profile", "smoke"], cwd=root, text=True,
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait(lambda: list(root.rglob("begun")))
        children = psutil.Process(started.pid).children(recursive=True)
        started.terminate()
        assert started.wait(300) == 130 and "Stopped. What is finished is kept" in started.stdout.read()
        _wait(lambda: not any(map(lives, children)))
    finally:
        started.kill()


def _wait(come, seconds: float = 600):
    """Waits until something has come; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_chapter_that_starts_from_the_base_rests_on_no_trained_model():
    assert "05_sft" in run.upstream("laptop", "07_base_strength") and "05_sft" not in run.upstream("full", "07_base_strength")
    assert run.before("12_rank_and_precision", "night") == ["01_corpus", "02_tokenizer", "10_multialpaca"]
    assert "05_sft" in run.before("12_rank_and_precision") and run.before("14_paper", "night") == run.before("14_paper")
