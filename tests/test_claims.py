"""The ledger: verdicts follow from intervals, and every claim selects the metric that it names."""
import pandas
import pytest

from lib import exhibits
from lib.engine import paths, records
from lib.engine.statistics import Difference
from lib.exhibits import claims, front

COMMITTED = paths.ROOT / "figures" / "night" / "records"
RULE = {"bound": 0, "margin": 0.05, "why": "a round number", "trained": True}
CLAIM = {"id": "lora", "paper": "P", "claim": "LoRA forgets less.", "tests": [
    {"label": "full − lora", "chapter": "03_pretraining", "metric": "bits_per_byte_difference",
     "labels": {"language": "target", "arm": "full", "against": "=main"}, "expect": "above", **RULE},
    {"label": "again", "chapter": "08_phases_and_transfer", "metric": "bits_per_byte_difference", "labels": {},
     "expect": "above", **RULE}], "check": None}


@pytest.fixture
def ledger(output, monkeypatch):
    """`ledger(low, high)`: the ledger of a claim over a record with this interval of an arm against lora."""
    monkeypatch.setattr(claims, "entries", lambda: [CLAIM])

    def build(low, high, n=20, arm="full", trainings=3):
        found = Difference((low + high) / 2, n, low, high, 0.01, trainings, 0.7 * (high - low))
        record = records.Record("03_pretraining", {"profile": "smoke", "seeds": [0, 1, 2], "main": "lora"}, {})
        for language in ("en", "fa"):
            record.metric("bits_per_byte_difference", found, "bits/byte", language=language, arm=arm, against="lora")
        record.write()
        return claims.ledger("smoke")
    return build


@pytest.mark.parametrize("expect, bound, interval, verdict", [
    ("above", 0, (0.1, 0.2), claims.SUPPORTED), ("above", 0, (0.01, 0.06), claims.SUPPORTED),
    ("above", 0, (-0.2, -0.1), claims.REFUTED), ("above", 0, (-0.1, 0.1), claims.UNDECIDED),
    ("above", 0, (0, 0.1), claims.UNDECIDED), ("above", 0, (-0.04, 0.04), claims.NONE),
    ("above", 0, (0.01, 0.04), claims.NONE), ("above", 0, (-0.04, -0.01), claims.NONE),
    ("above", 1, (1.1, 1.2), claims.SUPPORTED), ("above", 1, (0.98, 1.04), claims.NONE),
    ("below", 0, (-0.2, -0.1), claims.SUPPORTED), ("below", 0, (0.04, 0.06), claims.REFUTED),
    ("below", 0, (-0.04, 0.06), claims.UNDECIDED), ("below", 0, (-0.04, 0.04), claims.NONE),
    ("not below", 0, (-0.04, 0.1), claims.SUPPORTED), ("not below", 0, (-0.2, -0.06), claims.REFUTED),
    ("not above", 0, (-0.1, 0.01), claims.SUPPORTED), ("not above", 0, (0.06, 0.1), claims.REFUTED),
    ("not above", 0, (0.04, 0.06), claims.UNDECIDED), ("within", 0, (-0.04, 0.04), claims.SUPPORTED),
    ("within", 0, (0.06, 0.1), claims.REFUTED), ("within", 0, (-0.1, -0.06), claims.REFUTED),
    ("within", 0, (-0.06, 0.01), claims.UNDECIDED), ("within", 0, (0.0, 0.0), claims.SUPPORTED)])
def test_a_verdict_needs_the_whole_interval(expect, bound, interval, verdict):
    test = {"expect": expect, "bound": bound, "margin": 0.05}
    assert claims.judge(*interval, 100, test) == claims.judge(*interval, 100, test, 3) == verdict
    assert claims.judge(*interval, 100, test, 2) == claims.UNDECIDED
    assert claims.judge(*interval, claims.LEAST - 1, test) == claims.UNDECIDED


def test_a_word_that_no_verdict_knows_is_refused():
    with pytest.raises(ValueError, match="'more': choose one of above, below, within"):
        claims.judge(0, 1, 10, {"expect": "more", "bound": 0, "margin": 1})


@pytest.mark.parametrize("verdicts, joint", [
    ([claims.ABSENT], claims.ABSENT), ([claims.SUPPORTED, claims.ABSENT], claims.UNDECIDED),
    ([claims.REFUTED, claims.ABSENT], claims.REFUTED),
    ([claims.SUPPORTED, claims.UNDECIDED], claims.UNDECIDED), ([claims.UNDECIDED, claims.REFUTED], claims.REFUTED),
    ([claims.SUPPORTED, claims.NONE], claims.NONE), ([claims.UNDECIDED, claims.NONE], claims.UNDECIDED)])
def test_a_claim_asserts_all_its_tests(verdicts, joint):
    assert claims._joint(verdicts) == joint


def test_the_ledger_leads_from_the_verdict_to_the_metric(ledger):
    first, second = ledger(0.1, 0.3).to_dict("records")
    assert (first["verdict"], first["test_verdict"]) == (claims.UNDECIDED, claims.SUPPORTED), "its second test has no record"
    assert (first["value"], first["low"], first["high"], first["n"], first["trainings"]) == (0.2, 0.1, 0.3, 20, 3)
    assert first["labels"] == "language=fa, arm=full, against=lora"
    assert second["test_verdict"] == claims.ABSENT and second["remark"] == "08_phases_and_transfer has no record"


def test_few_items_decide_nothing(ledger):
    first = ledger(0.1, 0.3, n=5).iloc[0]
    assert first["test_verdict"] == claims.UNDECIDED and first["remark"] == "only 5 items"


def test_fewer_than_three_trainings_decide_nothing(ledger):
    first = ledger(0.1, 0.3, trainings=2).iloc[0]
    assert first["test_verdict"] == first["verdict"] == claims.UNDECIDED
    assert first["trainings"] == 2 and first["remark"] == "only 2 trainings"


@pytest.mark.parametrize("interval, remark", [
    ((-0.04, 0.08), "half-width 0.060 bits/byte, 0.030 decides at this value"),
    ((-0.06, 0.06), "half-width 0.060 bits/byte, 0.050 decides at this value"),
    ((-0.01, 0.13), "half-width 0.070 bits/byte, 0.060 decides at this value")])
def test_too_wide_an_interval_says_which_one_would_decide(ledger, interval, remark):
    assert ledger(*interval).iloc[0]["remark"] == remark


def test_trainings_added_after_a_first_look_are_held_to_a_wider_interval(ledger, monkeypatch):
    """Student's t of five trainings: 3.32 at the level of two looks, 2.78 at 5 %."""
    monkeypatch.setattr(claims, "_content", lambda: {"first_looks": {"smoke": {"03_pretraining": 3}}})
    first = ledger(0.02, 0.30, trainings=5).iloc[0]
    assert first["low"] == pytest.approx(0.16 - 0.14 * 3.33 / 2.776, abs=0.003) and first["high"] > 0.32
    assert first["test_verdict"] == claims.UNDECIDED and first["remark"].endswith("a second look, 97 % interval")
    assert ledger(0.1, 0.3, trainings=3).iloc[0]["remark"] == ""


def test_what_was_never_trained_needs_no_trainings(ledger, monkeypatch):
    untrained = {**CLAIM, "tests": [{**CLAIM["tests"][0], "trained": False}]}
    monkeypatch.setattr(claims, "entries", lambda: [untrained])
    first = ledger(0.1, 0.3, trainings=1).iloc[0]
    assert first["test_verdict"] == claims.SUPPORTED and pandas.isna(first["trainings"]) and first["remark"] == ""


def test_records_that_do_not_count_their_trainings_decide_nothing_about_training(ledger, output):
    ledger(0.1, 0.3)
    path = output / "runs/smoke/03_pretraining/record.json"
    content = records.read(path)
    for row in content["metrics"]:
        del row["trainings"]
    records.write_json(path, content)
    first = claims.ledger("smoke").iloc[0]
    assert (first["test_verdict"], first["remark"]) == (claims.UNDECIDED, "its interval is over test items alone, not over trainings")


def test_a_contrast_that_was_not_run_is_told_apart(ledger):
    assert ledger(0.1, 0.3, arm="frozen").iloc[0]["remark"] == "not compared in this run"
    with pytest.raises(LookupError, match="0 metrics of 03_pretraining are bits_per_byte_difference .*arm=full.*claims.yaml"):
        claims.select("smoke", CLAIM["tests"][0])


@pytest.mark.parametrize("expect, language, verdict, remark", [
    ("above", "en", claims.SUPPORTED, ""),
    ("below", "en", claims.UNDECIDED, "the treatment did not take: English moves 0.200 [0.100, 0.300] bits/byte"),
    ("above", "de", claims.UNDECIDED, "not measured whether the treatment took (English moves)")])
def test_a_treatment_that_did_not_take_decides_nothing(ledger, monkeypatch, expect, language, verdict, remark):
    check = {**CLAIM["tests"][0], "label": "English moves", "labels": {"language": language}, "expect": expect}
    monkeypatch.setattr(claims, "entries", lambda: [{**CLAIM, "check": check}])
    first, second = ledger(0.1, 0.3).to_dict("records")
    assert (first["test_verdict"], first["verdict"], first["remark"]) == (verdict, claims.UNDECIDED, remark)
    assert second["test_verdict"] == claims.ABSENT


def test_table_and_figure_say_the_same(ledger, output):
    ledger(0.1, 0.3)
    frame, reading = exhibits.TABLES["C14-T3"].build("smoke")
    assert frame["effect"].tolist() == ["0.200 [0.100, 0.300] bits/byte", ""] and frame["n"].tolist() == ["20", ""]
    assert frame["expected"].tolist() == ["> 0", "> 0"] and frame["margin"].tolist() == ["0.050 bits/byte", "0.05"]
    assert frame["least"].tolist() == ["0.140 bits/byte", ""] and "why" in frame
    exhibits.save("C14-T3", "smoke")
    printed, *_ = (output / "figures/smoke/tables/C14-T3_ledger.md").read_text("utf8").splitlines()[2:]
    assert "| least |" in printed and "why" not in printed and printed.count("|") <= 13
    assert reading.startswith("Of 1 claims 0 supported, 0 refuted, 0 no effect above its margin, 1 undecided at this scale, "
                              "0 no record yet; a verdict rests on the whole 95 % interval")
    assert exhibits.save("C14-F1", "smoke") == reading
    assert len((output / "figures/smoke/C14-F1_claims_forest.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("interval, verdict", [
    ((0.1, 0.3), "Supported."), ((-0.3, -0.1), "Refuted."), ((-0.02, 0.02), "No effect above 0.050 bits/byte."),
    ((-0.1, 0.1), "Undecided at this scale: half-width 0.100 bits/byte, 0.050 decides at this value, "
                  "least effect to be seen 0.140 bits/byte.")])
def test_a_claim_is_told_in_words(ledger, monkeypatch, interval, verdict):
    monkeypatch.setattr(claims, "entries", lambda: [{**CLAIM, "tests": CLAIM["tests"][:1]}])
    ledger(*interval)
    told = exhibits.TABLES["C14-T4"].build("smoke")[0].iloc[0]
    assert told["claim"] == "LoRA forgets less. (P)" and told["verdict"] == verdict
    assert told["what was done"] == "Full − lora (chapter 03), 20 items, 3 trainings."


def test_a_claim_with_a_test_that_has_no_record_says_so(ledger):
    ledger(0.1, 0.3)
    told = exhibits.TABLES["C14-T4"].build("smoke")[0].iloc[0]
    assert told["verdict"] == "Undecided at this scale: 08_phases_and_transfer has no record."
    assert told["what was done"] == "Full − lora (chapter 03), 20 items, 3 trainings; again (chapter 08)."
    assert told["what was seen"].endswith(" bits/byte, claimed > 0; nothing: 08_phases_and_transfer has no record.")


def test_without_any_record_the_table_stands_and_the_figure_says_why(output, monkeypatch):
    frame, reading = exhibits.TABLES["C14-T3"].build("smoke")
    assert set(frame["verdict"]) == {claims.ABSENT} and f"{len(claims.entries())} no record yet" in reading
    with pytest.raises(FileNotFoundError, match="No claim has a record in profile smoke"):
        exhibits.FIGURES["C14-F1"].build("smoke")


def test_entries_are_complete_and_their_ids_unique():
    entries = claims.entries()
    assert len({entry["id"] for entry in entries}) == len(entries)
    keys = {"label", "chapter", "metric", "labels", "expect", "unit", *RULE}
    for entry in entries:
        assert set(entry) == {"id", "paper", "claim", "tests", "check"} and entry["tests"], entry["id"]
        for test in [*entry["tests"], *filter(None, [entry["check"]])]:
            assert set(test) == keys and test["expect"] in claims.EXPECTED, entry["id"]
            assert test["margin"] > 0 and test["why"].endswith("."), entry["id"]


def test_every_claim_selects_one_metric_of_the_committed_run(monkeypatch):
    """Fails when a chapter renames what a claim rests on."""
    monkeypatch.delenv("COMPANION_OUTPUT", raising=False)
    monkeypatch.setattr(records, "place", lambda profile, chapter: COMMITTED / f"{chapter}.json")
    found = claims.ledger("night")
    assert found["value"].notna().all()


def test_the_readmes_results_are_those_of_the_committed_records(monkeypatch):
    monkeypatch.delenv("COMPANION_OUTPUT", raising=False)
    text = (paths.ROOT / "README.md").read_text(encoding="utf8")
    assert front.told(text) == text, "run `python -m lib.exhibits.front`"
    assert len(text.splitlines()) <= 90 and text.count("\n| ") >= len(front.FIVE)
    ledger = claims.ledger(front.PROFILE).drop_duplicates("id").set_index("id")
    for name in front.FIVE:
        assert f"| {ledger.loc[name, 'claim']} |" in text and f"| {ledger.loc[name, 'verdict']} |" in text


def test_the_readmes_sample_is_what_the_model_wrote_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    record = records.Record("03_pretraining", {"profile": "full"}, {})
    record.rows("continuations", [{"share": share, "prompt": prompt, "continuation": f"{share} <b>\n{prompt}"}
                                  for share in (0.0, 0.5, 1.0) for prompt in ("او", "ما")])
    assert front.sample("full").endswith('<div dir="auto">او 0.0 &lt;b&gt; او<br>او 1.0 &lt;b&gt; او</div>')
