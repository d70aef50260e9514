"""The papers' own numbers: all there with provenance, their arithmetic made again, settings and shapes beside ours."""
import pandas
import pytest

from lib import exhibits
from lib.exhibits import audit, base
from lib.exhibits.architecture import Architecture

LLAMA = Architecture(layers=32, hidden=4096, inner=11008, vocabulary=32000)
MISTRAL = LLAMA._replace(inner=14336, keys=1024)
SCORES = ("accuracy", "F1", "BLEU", "COMET", "ROUGE", "macro-F1")


@pytest.fixture(scope="module")
def reported():
    return base.reported()


@pytest.fixture(scope="module")
def audited(reported):
    return audit.recompute(reported)


def _build(id):
    return exhibits.TABLES[id].build("smoke")


def test_every_number_has_its_place_and_provenance(reported):
    assert (reported[["paper", "quantity", "provenance"]] != "").all().all()
    assert (reported.loc[reported["quantity"].isin(SCORES), ["unit", "system", "item"]] != "").all().all()
    assert {50172, 49816, 232.38, 132701} <= set(reported["value"])
    assert not reported.duplicated(["paper", "exhibit", "table", "system", "item", "language", "group", "quantity",
                                    "provenance", "printed"]).any()


def test_what_is_not_known_stays_blank(reported):
    stages = reported[(reported["paper"] == "Llama-Persian") & (reported["exhibit"] == "P1-T5")]
    assert len(stages) == 55 and stages["value"].isna().all() and (stages["printed"] == "").all()
    assert (reported.loc[reported["printed"] == "", "value"].isna()).all()


@pytest.mark.parametrize("table, cells", [("Table 18", 51), ("Table 19", 24), ("Table 20", 21), ("Table 21", 39),
                                          ("Table 22", 33), ("Table 23", 90), ("Table 24", 30), ("Table 25", 51),
                                          ("Table 26", 24), ("Table 27", 21), ("Table 28", 39), ("Table 29", 33),
                                          ("Table 30", 90), ("Table 31", 30), ("Table 5", 30), ("Table 2", 36)])
def test_polylm_tables_are_whole(reported, table, cells):
    found = reported[(reported["paper"] == "PolyLM") & (reported["table"] == table)]
    assert len(found) == cells and found["value"].notna().all()


def test_an_exhibit_has_its_own_numbers():
    found = base.reported("P2-T1").query("system == 'NF4' and language == 'en-fa'")
    assert found["value"].tolist() == [80.36] and found["printed"].tolist() == ["80.36"]


def test_groups_follow_the_languages_of_table_2(reported):
    trained = set(reported.loc[reported["table"] == "Table 2", "language"])
    rows = reported[~reported["language"].isin(["average", "not en"])]
    assert set(rows.loc[rows["group"] == "in pretraining", "language"]) <= trained
    assert not set(rows.loc[rows["group"] == "not in pretraining", "language"]) & trained


def test_the_audit_finds_the_four_known_places_and_nothing_else(audited):
    wrong = audited[~audited["agrees"]]
    assert set(wrong["paper"]) == {"PolyLM"}
    assert sorted(zip(wrong["table"], wrong["printed"])) == [
        ("Table 1", "638"), ("Table 23", "13.5"), ("Table 23", "13.7"), ("Table 23", "17.5"), ("Table 7", "7.58"),
        ("text", "29")]
    recomputed = wrong.set_index("printed")["recomputed"]
    assert recomputed["638"] == pytest.approx(644.0) and recomputed["29"] == pytest.approx(24.65, abs=0.01)
    assert recomputed["7.58"] == pytest.approx(7.68, abs=0.001) and recomputed["17.5"] == pytest.approx(15.93, abs=0.01)
    assert recomputed["13.7"] == pytest.approx(13.38, abs=0.01) and recomputed["13.5"] == pytest.approx(13.3)


def test_the_audit_leaves_no_average_out(reported, audited):
    averages = reported[(reported["language"] == "average") | (reported["item"] == "average")]
    assert averages["table"].isin(audited["table"]).all()
    assert len(averages) <= len(audited) and audited["agrees"].sum() >= 45
    assert {"Table 1", "Table 2", "Table 7", "Figure 6"} <= set(audited["table"])


def test_the_audit_sees_a_wrong_digit(reported):
    changed = reported.copy()
    at = changed.query("table == 'Table 18' and system == 'PolyLM-13B' and printed == '46.1'").index
    changed.loc[at, ["value", "printed"]] = [46.3, "46.3"]
    found = audit.recompute(changed)
    assert "46.3" in found.loc[~found["agrees"], "printed"].tolist()


def test_rounded_parts_may_move_an_average_by_their_own_half_units(audited):
    row = audited[(audited["table"] == "Table 31") & (audited["printed"] == "19.14")].iloc[0]
    assert row["agrees"] and row["recomputed"] == pytest.approx(19.15) and row["allowed"] == pytest.approx(0.055)


@pytest.mark.parametrize("printed, half", [("12.3", 0.05), ("29", 0.5), ("1e-4", 0.5e-4), ("-3.7", 0.05),
                                           ("cosine", 0), ("", 0)])
def test_half_a_unit_is_of_the_last_printed_digit(printed, half):
    assert audit.half_unit(printed) == pytest.approx(half)


def test_parameters_by_formula():
    extended = LLAMA._replace(vocabulary=50172)
    assert LLAMA.parameters() == 6_738_415_616 and MISTRAL.parameters() == 7_241_732_096
    assert (extended.lora(8), extended.matrices()) == (19_988_480, 411_009_024)
    assert LLAMA._replace(vocabulary=41510).parameters() == 6_816_321_536
    assert exhibits.ch03.by_formula().tolist() == [19_988_480, 205_504_512, 205_504_512, 0, 430_997_504, 6_907_269_120]


def test_the_derived_numbers_of_maple_follow_from_the_formula():
    shapes = {"Llama-2-7B": LLAMA, "Mistral-7B": MISTRAL}
    rows = base.reported("P4-T1")
    rows = rows[rows["group"] != ""]
    for row in rows.itertuples():
        shape, rank = shapes[row.system], int(row.item.removeprefix("rank "))
        trained = shape.lora(rank, None if "7" in row.group else ("q", "v"))
        share = 100 * trained / (shape.parameters() + trained)
        whole = row.quantity == "trainable parameters"
        made, allowed = (trained, 0) if whole else (share, audit.half_unit(row.printed))
        assert abs(row.value - made) <= allowed + 1e-9
    assert len(rows) == 40


def test_settings_stand_beside_both_profiles():
    frame, reading = _build("P1-T2")
    row = frame.set_index("quantity").loc["learning rate"]
    assert row["pretraining: script"] == "2e-4" and float(row["pretraining: paper"]) == 2e-4
    assert row["SFT: script"] == "1e-4" and row["SFT: laptop"] != ""
    assert frame.set_index("quantity").loc["seed", "SFT: script"] == "$RANDOM"
    assert "SFT seed" in reading


def test_scripts_that_differ_from_their_paper_are_named():
    frame, _ = _build("P3-T3")
    other = frame[~frame["same"]]
    assert set(zip(other["system"], other["quantity"])) == {
        ("extended tokenizer", "vocabulary"), ("PolyLM-1.7B", "tokenizer type"), ("PolyLM-13B", "tokenizer type"),
        ("PolyLM-1.7B", "peak learning rate"), ("PolyLM-13B", "warm-up"), ("PolyLM-1.7B", "weight decay"),
        ("PolyLM-13B", "weight decay")}


def test_hazards_name_their_file_and_what_is_done_instead():
    frame, reading = _build("P1-A1")
    assert len(frame) >= 20 and (frame != "").all().all() and str(len(frame)) in reading
    assert frame["file"].str.contains("/|README.md").all()


def test_markdown_is_not_padded_and_keeps_its_cells_apart():
    frame = pandas.DataFrame({"text": ["a|b\nc", "x" * 500, None], "value": [1.2345678, 2.0, float("nan")]})
    lines = base.markdown(frame).splitlines()
    assert lines[:3] == ["| text | value |", "| --- | ---: |", r"| a\|b<br>c | 1.2346 |"]
    assert len(lines) == 5 and lines[-1] == "|  |  |"
