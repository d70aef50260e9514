"""Any language: a small text of the user's own goes through the chapters, with translation pairs and without."""
import json

import languages
import pytest
import yaml

from lib import exhibits
from lib.data import text
from lib.engine import assets, params, paths, records
from lib.model import folders

pytestmark = pytest.mark.chain
CHAPTERS = ("01_corpus", "02_tokenizer", "03_pretraining", "04_alignment", "05_sft", "06_evaluation", "09_curriculum")
# As little as shows that everything runs.
QUICK = {"03_pretraining": {"arms": []}, "04_alignment": {"budget_bytes": 700},
         "08_phases_and_transfer": {"precisions": ["fp32"]},
         "09_curriculum": {"stability_remedies": [], "stability_precisions": ["fp32"],
                           "stability_rates": [3.0e-3], "stability_steps": 4, "toy_vocabulary": 300}}


@pytest.fixture(scope="module")
def base(byte_tokenizer, tiny_model, tmp_path_factory):
    """A tiny local base of bytes and English crumbs."""
    return folders.save(tiny_model(byte_tokenizer), byte_tokenizer, tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def begin(base, output, monkeypatch):
    """`begin(code, pairs=False, **more)`: a profile `mine` with a text of a few hundred lines in a language."""
    def made(code: str, pairs: bool = False, **more):
        (output / "own.txt").write_text("\n".join(line for _, line in languages.sentences(code, 240)), "utf8")
        (output / "own.tsv").write_text("\n".join(map("\t".join, languages.sentences(code, 250, seed=1))), "utf8")
        corpus = {"language": code, "script": languages.LANGUAGES[code][0], "sources": [], "outside": [],
                  "corpus_files": [str(output / "own.txt")], "pair_files": [str(output / "own.tsv")] if pairs else []}
        languages.profile("mine", output, QUICK | {"01_corpus": corpus, "02_tokenizer": {"base": str(base)}} | more)
        monkeypatch.setattr(paths, "PARAMS", output)
    return made


@pytest.mark.parametrize("pairs", [False, True], ids=["text alone", "pairs too"])
@pytest.mark.parametrize("code", languages.LANGUAGES)
def test_a_text_goes_through_the_chapters(code, pairs, begin, output, capsys):
    begin(code, pairs)
    for chapter in CHAPTERS:
        languages.execute("mine", chapter)
    found = {path.parent.name: json.loads(path.read_text("utf8")) for path in (output / "runs/mine").glob("*/record.json")}
    assert sorted(found) == list(CHAPTERS)
    rows = [row for record in found.values() for row in record["metrics"]]
    assert all(row["n"] > 0 and row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9 for row in rows)
    printed, spoken = capsys.readouterr().out, {code, "en"} if pairs else {code}
    _has_scores(spoken, pairs)
    _says_what_could_be_added(printed, pairs)
    assert (output / "runs/mine/05_sft/model/config.json").exists()


def _has_scores(spoken: set[str], pairs: bool):
    """Every language has bits per byte and its minimal pairs; translations are scored where there are pairs."""
    scores = records.metrics("mine", "06_evaluation")
    assert set(scores.query("metric == 'bits_per_byte' and stage == 'instructed'")["language"]) == spoken
    assert set(scores.query("metric == 'accuracy' and task == 'word_order'")["language"]) == spoken
    chance = records.facts("mine", "06_evaluation").query("fact == 'chance'")
    assert set(chance["value"].astype(float)) == {0.5}
    assert ("chrf" in set(scores["metric"])) == pairs == ("retrieval_accuracy" in set(
        records.metrics("mine", "04_alignment")["metric"]))
    script = records.load("mine", "01_corpus")["parameters"]["script"]
    fertility = records.metrics("mine", "02_tokenizer").query("metric == 'fertility' and language != 'en'")
    assert set(fertility["unit"]) == {f"tokens/{text.unit(script)}"}


def _says_what_could_be_added(printed: str, pairs: bool):
    """What a default gave way to, and the exhibits that are not made, each in a line; nothing of it with pairs."""
    for line in ("So `start` is 'mean-of-subtokens'.", "So `replay` is 0.0.", "So `arms` is ['no-pairs'].",
                 f"Not made here: {params.LACKS['english']}.", f"Not made here: {params.LACKS['pairs']}."):
        assert (line in printed) != pairs, line


LATER = ("07_base_strength", "08_phases_and_transfer", "10_multialpaca", "11_multilingual_benchmark",
         "12_rank_and_precision")


def test_every_exhibit_of_a_text_alone_is_made_or_says_what_it_lacks(begin, base, output, monkeypatch, capsys):
    monkeypatch.setattr(assets, "absent", lambda *names: list(names))
    own = {"bases": [str(base)]}
    begin("hi", **{LATER[0]: own, LATER[2]: {"teacher": str(base)}, LATER[3]: own, LATER[4]: own | {"bits": [16]}})
    for chapter in (*CHAPTERS, *LATER):
        languages.execute("mine", chapter)
    assert "So `pair_share` is 0.0." in capsys.readouterr().out
    known = [exhibit for exhibit in (exhibits.FIGURES | exhibits.TABLES).values()
             if exhibit.chapter in records.available("mine")]
    states = {exhibit.id: _state(exhibit) for exhibit in known}
    core = {states[exhibit.id] for exhibit in known if exhibit.chapter in (*CHAPTERS, "08_phases_and_transfer")}
    assert core == {"made", *(params.LACKS[name] for name in ("english", "pairs", "transfer"))}
    assert states["P3-T5"] == params.LACKS["multiway"] and states["C07-F1"].startswith("neither test files")
    assert {"P1-T4", "P1-F3", "P1-T3", "C05-T3", "P1-T5", "P1-F1", "P2-F1", "P2-T1", "P3-F2", "P1-T1", "P4-T1", "P4-F1",
            "P4-F4"} <= {
        name for name, state in states.items() if state == "made"}
    assert all(len(path.read_text("utf8").splitlines()) > 1 for path in (output / "figures/mine").glob("*.csv"))


def _state(exhibit) -> str:
    """`made`, when the exhibit's files were written, or what it lacks."""
    try:
        exhibits.save(exhibit.id, "mine")
        return "made"
    except exhibits.Lacking as error:
        return str(error)


@pytest.mark.parametrize("chapter, wish, lack", [
    ("02_tokenizer", {"start": "translations"}, "pairs"), ("03_pretraining", {"replay": 0.1}, "english"),
    ("04_alignment", {"arms": ["pairs"]}, "pairs")])
def test_what_a_user_wrote_is_no_default(chapter, wish, lack, begin, base):
    begin("sw")
    for earlier in CHAPTERS[:CHAPTERS.index(chapter)]:
        languages.execute("mine", earlier)
    file = paths.parameters("mine", chapter)
    file.write_text(yaml.safe_dump(params.read(file) | wish), "utf8")
    with pytest.raises(params.ParameterError, match=f"`{next(iter(wish))}` is .*{params.LACKS[lack][:30]}"):
        languages.execute("mine", chapter)
