"""The ledger: verdicts follow from intervals, and every claim selects the metric that it names."""
import pandas
import pytest

from lib import exhibits
from lib.engine import paths, records
from lib.engine.statistics import Difference
from lib.exhibits import claims

COMMITTED = paths.ROOT / "figures" / "full" / "records"
CLAIM = {"id": "lora", "paper": "P", "claim": "LoRA forgets less.", "tests": [
    {"label": "full − lora", "chapter": "03_pretraining", "metric": "bits_per_byte_difference",
     "labels": {"language": "target", "arm": "full", "against": "=main"}, "expect": "above", "bound": 0},
    {"label": "again", "chapter": "08_phases_and_transfer", "metric": "bits_per_byte_difference", "labels": {},
     "expect": "above", "bound": 0}]}


@pytest.fixture
def ledger(output, monkeypatch):
    """`ledger(low, high, n, trainings)`: the ledger of one claim over a record with this interval for full against lora."""
    monkeypatch.setattr(claims, "entries", lambda: [CLAIM])

    def build(low, high, n=20, arm="full", strict=False, trainings=3):
        record = records.Record("03_pretraining", {"profile": "smoke", "seeds": [0, 1, 2], "main": "lora"}, {})
        for language in ("en", "fa"):
            record.metric("bits_per_byte_difference", Difference((low + high) / 2, n, low, high, 0.01, trainings), "bits/byte",
                          language=language, arm=arm, against="lora")
        record.write()
        return claims.ledger("smoke", strict)
    return build


@pytest.mark.parametrize("expect, bound, interval, verdict", [
    ("above", 0, (0.1, 0.2), claims.SUPPORTED), ("above", 0, (-0.2, -0.1), claims.REFUTED),
    ("above", 0, (-0.1, 0.1), claims.UNDECIDED), ("above", 0, (0, 0.1), claims.UNDECIDED),
    ("above", -0.05, (-0.04, 0.1), claims.SUPPORTED), ("above", -0.05, (-0.2, -0.06), claims.REFUTED),
    ("below", 0.02, (-0.1, 0.01), claims.SUPPORTED), ("below", 0.02, (0.03, 0.04), claims.REFUTED),
    ("within", 0.05, (-0.04, 0.04), claims.SUPPORTED), ("within", 0.05, (0.06, 0.1), claims.REFUTED),
    ("within", 0.05, (-0.1, -0.06), claims.REFUTED), ("within", 0.05, (-0.06, 0.01), claims.UNDECIDED),
    ("within", 0.05, (0.0, 0.0), claims.SUPPORTED)])
def test_a_verdict_needs_the_whole_interval(expect, bound, interval, verdict):
    assert claims.judge(*interval, 100, expect, bound) == claims.judge(*interval, 100, expect, bound, 3) == verdict
    assert claims.judge(*interval, 100, expect, bound, 2) == claims.UNDECIDED
    assert claims.judge(*interval, claims.LEAST - 1, expect, bound) == claims.UNDECIDED


def test_a_word_that_no_verdict_knows_is_refused():
    with pytest.raises(ValueError, match="'more': choose one of above, below, within"):
        claims.judge(0, 1, 10, "more", 0)


@pytest.mark.parametrize("verdicts, joint", [
    ([claims.ABSENT], claims.ABSENT), ([claims.SUPPORTED, claims.ABSENT], claims.SUPPORTED),
    ([claims.SUPPORTED, claims.UNDECIDED], claims.UNDECIDED), ([claims.SUPPORTED, claims.REFUTED], claims.REFUTED)])
def test_a_claim_asserts_all_its_tests(verdicts, joint):
    assert claims._joint(verdicts) == joint


def test_the_ledger_leads_from_the_verdict_to_the_metric(ledger):
    first, second = ledger(0.1, 0.3).to_dict("records")
    assert (first["verdict"], first["test_verdict"]) == (claims.SUPPORTED, claims.SUPPORTED)
    assert (first["value"], first["low"], first["high"], first["n"], first["seeds"]) == (0.2, 0.1, 0.3, 20, 3)
    assert first["labels"] == "language=fa, arm=full, against=lora"
    assert second["test_verdict"] == claims.ABSENT and second["remark"] == "08_phases_and_transfer has no record"


def test_few_items_decide_nothing(ledger):
    first = ledger(0.1, 0.3, n=5).iloc[0]
    assert first["test_verdict"] == claims.UNDECIDED and first["remark"] == "only 5 items"


def test_fewer_than_three_trainings_decide_nothing(ledger):
    first = ledger(0.1, 0.3, trainings=2).iloc[0]
    assert first["test_verdict"] == first["verdict"] == claims.UNDECIDED
    assert first["seeds"] == 2 and first["remark"] == "only 2 trainings"


def test_what_was_never_trained_needs_no_trainings(ledger, monkeypatch):
    untrained = {**CLAIM, "tests": [{**CLAIM["tests"][0], "trained": False}]}
    monkeypatch.setattr(claims, "entries", lambda: [untrained])
    first = ledger(0.1, 0.3, trainings=1).iloc[0]
    assert first["test_verdict"] == claims.SUPPORTED and pandas.isna(first["seeds"]) and first["remark"] == ""


def test_records_that_do_not_tell_their_trainings_are_counted_by_seeds(ledger, output):
    ledger(0.1, 0.3, trainings=1)
    path = output / "runs/smoke/03_pretraining/record.json"
    content = records.read(path)
    for row in content["metrics"]:
        del row["trainings"]
    records.write_json(path, content)
    first = claims.ledger("smoke").iloc[0]
    assert (first["test_verdict"], first["seeds"]) == (claims.SUPPORTED, 3)


def test_a_contrast_that_was_not_run_is_told_apart(ledger):
    assert ledger(0.1, 0.3, arm="frozen").iloc[0]["remark"] == "not compared in this run"
    with pytest.raises(LookupError, match="0 metrics of 03_pretraining are bits_per_byte_difference .*arm=full.*claims.yaml"):
        ledger(0.1, 0.3, arm="frozen", strict=True)


def test_table_and_figure_say_the_same(ledger, output):
    ledger(0.1, 0.3)
    frame, reading = exhibits.TABLES["C14-T3"].build("smoke")
    assert frame["effect"].tolist() == ["0.200 [0.100, 0.300] bits/byte", ""] and frame["n"].tolist() == ["20", ""]
    assert "Of 1 claims 1 supported" in reading and "1 of 2 tests have a record" in reading
    assert exhibits.save("C14-F1", "smoke") == reading
    assert len((output / "figures/smoke/C14-F1_claims_forest.csv").read_text().splitlines()) == 2


def test_without_any_record_the_table_stands_and_the_figure_says_why(output, monkeypatch):
    frame, reading = exhibits.TABLES["C14-T3"].build("smoke")
    assert set(frame["verdict"]) == {claims.ABSENT} and "0 of" in reading
    with pytest.raises(FileNotFoundError, match="No claim has a record in profile smoke"):
        exhibits.FIGURES["C14-F1"].build("smoke")


def test_entries_are_complete_and_their_ids_unique():
    entries = claims.entries()
    assert len({entry["id"] for entry in entries}) == len(entries)
    for entry in entries:
        assert set(entry) == {"id", "paper", "claim", "tests"} and entry["tests"], entry["id"]
        for test in entry["tests"]:
            assert set(test) - {"seeds", "trained"} == {"label", "chapter", "metric", "labels", "expect", "bound"}, entry["id"]
            assert test["expect"] in claims.EXPECTED and (test["bound"] > 0 or test["expect"] != "within"), entry["id"]


@pytest.mark.skipif(not COMMITTED.exists(), reason="no run is committed yet")
def test_every_claim_selects_one_metric_of_the_committed_run(monkeypatch):
    """Fails when a chapter renames what a claim rests on."""
    monkeypatch.delenv("COMPANION_OUTPUT", raising=False)
    monkeypatch.setattr(records, "place", lambda profile, chapter: COMMITTED / f"{chapter}.json")
    found = claims.ledger("full", strict=True)
    present = {path.stem for path in COMMITTED.glob("*.json")}
    assert (found["test_verdict"] != claims.ABSENT).tolist() == found["chapter"].isin(present).tolist()
