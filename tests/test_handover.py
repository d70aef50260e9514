"""A committed run goes on elsewhere: what is taken up, what is made again and compared, what runs anew."""
import json
import shutil

import pytest
from house import END, build, call, write

from lib.engine import params, paths, run

MAKES = '(paths.run(profile, "01_corpus") / "texts.jsonl").write_text("a text\\n" * rows)\nrecord.fact("texts", rows)\n'


def _handover(root):
    return call(root, "lib.engine.handover", "smoke", COMPANION_REACH="")


def _rest(root):
    return call(root, "lib.engine.run", "all", "--profile", "smoke", COMPANION_REACH="")


@pytest.fixture
def house(tmp_path):
    """Two chapters, the first with a committed record and an output that lies nowhere."""
    root = build(tmp_path)
    write(root, "01_corpus", f"from lib.engine import paths\n\n{MAKES}{END}")
    status, printed = call(root, "lib.engine.run", "01_corpus", "--profile", "smoke")
    assert status == 0, printed
    kept = root / "figures/smoke/records/01_corpus.json"
    kept.parent.mkdir(parents=True)
    shutil.copy(root / "runs/smoke/01_corpus/record.json", kept)
    shutil.rmtree(root / "runs")
    return root


def test_what_the_chapters_left_read_is_made_again_in_less_time_and_the_rest_runs(house):
    (house / "params/handover.yaml").write_text("01_corpus: {seed: 3, rows: =texts}\n")
    (house / "runs/smoke/01_corpus").mkdir(parents=True)
    (house / "runs/smoke/01_corpus/texts.jsonl").write_text("of another run\n")
    status, printed = _handover(house)
    assert status == 0 and "1 chapters taken up, 1 left for `make reproduce PROFILE=smoke`: 02_tokenizer." in printed, printed
    assert "hello from 3" in printed and "01_corpus: its record, texts.jsonl as committed." in printed
    made, kept = house / "runs/smoke/01_corpus", house / "figures/smoke/records/01_corpus.json"
    assert (made / "record.json").read_bytes() == kept.read_bytes() and json.loads(kept.read_text())["parameters"]["seed"] == 0
    assert (made / "texts.jsonl").read_text() == "a text\n" * 3
    status, printed = _handover(house)
    assert status == 0 and "0 chapters taken up, 1 left" in printed and "hello" not in printed
    status, printed = _rest(house)
    assert status == 0 and "1 of 2 chapters to run" in printed and "02_tokenizer" in printed, printed
    assert "Nothing to be done" in _rest(house)[1]


def test_an_output_that_comes_out_otherwise_is_told_and_its_chapter_runs_in_full(house):
    kept = house / "figures/smoke/records/01_corpus.json"
    kept.write_text(kept.read_text().replace(json.loads(kept.read_text())["leaves"]["texts.jsonl"], "0" * 64))
    (house / "params/handover.yaml").write_text("01_corpus: {seed: 3}\n")
    status, printed = _handover(house)
    assert status == 1 and "texts.jsonl of 01_corpus is not what the committed run had (another processor" in printed, printed
    status, printed = _rest(house)
    assert status == 0 and "because parameter seed changed" in printed and "2 of 2 chapters to run" in printed, printed


def test_what_does_not_rest_on_a_failed_output_is_taken_up_all_the_same(house):
    makes = MAKES.replace("01_corpus", "02_tokenizer")
    for chapter, last in {"02_tokenizer": f"from lib.engine import paths\n\n{makes}{END}", "10_multialpaca": END}.items():
        write(house, chapter, last)
        (house / f"params/smoke/{chapter}.yaml").write_text("profile: smoke\n")
    assert _rest(house)[0] == 0
    for chapter in ("01_corpus", "02_tokenizer", "10_multialpaca"):
        shutil.copy(house / f"runs/smoke/{chapter}/record.json", house / f"figures/smoke/records/{chapter}.json")
    shutil.rmtree(house / "runs/smoke/10_multialpaca")
    write(house, "03_pretraining", END)
    (house / "params/smoke/03_pretraining.yaml").write_text("profile: smoke\n")
    kept = house / "runs/smoke/02_tokenizer"
    shutil.rmtree(kept)
    record = house / "figures/smoke/records/02_tokenizer.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"leaves": {"texts.jsonl": "0" * 64}}))
    status, printed = _handover(house)
    assert status == 1 and "texts.jsonl of 02_tokenizer is not what" in printed, printed
    assert "1 chapters taken up, 2 left" in printed and (house / "runs/smoke/10_multialpaca/record.json").exists(), printed


def test_a_record_of_other_parameters_is_not_taken_up_and_nothing_done_here_is_replaced(house):
    (house / "params/smoke/01_corpus.yaml").write_text("profile: smoke\nrows: 5\n")
    status, printed = _handover(house)
    assert status == 0 and "0 chapters taken up, 2 left" in printed and not (house / "runs/smoke/01_corpus").exists(), printed
    assert _rest(house)[0] == 0
    assert "0 chapters taken up, 0 left" in _handover(house)[1]
    assert json.loads((house / "runs/smoke/01_corpus/record.json").read_text())["parameters"]["rows"] == 5


def test_a_record_of_an_early_version_is_left_and_its_chapter_runs(house):
    kept = house / "figures/smoke/records/01_corpus.json"
    early = {name: part for name, part in json.loads(kept.read_text()).items() if name not in ("key", "rests", "leaves", "lacking")}
    kept.write_text(json.dumps(early))
    status, printed = _handover(house)
    assert status == 0 and "0 chapters taken up, 2 left" in printed, printed


def test_a_mistyped_option_is_told_before_anything_is_done(house):
    status, printed = call(house, "lib.engine.handover", "smoke", "--profiel", "full", COMPANION_REACH="")
    assert status == 1 and "Option --profiel is not known" in printed, printed
    status, printed = call(house, "lib.engine.run", "01_corpus", "--profiel", "smoke", COMPANION_REACH="")
    assert status == 1 and "Option --profiel is not known" in printed and not (house / "runs").exists(), printed


@pytest.mark.parametrize("profile", run.COMMITTED)
def test_what_is_left_out_are_parameters_of_the_chapter(profile):
    file = paths.PARAMS / "handover.yaml"
    for chapter, given in params.read(file).items():
        plain = {name: value for name, value in given.items() if not str(value).startswith("=")}
        assert given.keys() <= params.defaults(chapter).keys()
        params.check(chapter, params.load(profile, chapter) | plain, str(file))
