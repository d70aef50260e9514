"""Tables of the benchmark files, noted by the base_strength chapter."""
import pandas

from lib import records, statistics
from lib.tables.base import table


@table("P1-T1", "07_base_strength", "The tests: rows, labels as written, and faults", ("llama-persian-tests", "parsinlu"))
def test_files(profile: str):
    """Rows, labels as written, majority, precision at 50 %, mean words, repeated inputs and flagged rows of a file."""
    facts = records.facts(profile, "07_base_strength")
    if not facts["fact"].eq("released_rows").any():
        return pandas.DataFrame(), "There were no tests in this run."
    facts = facts[facts["fact"].str.startswith("released_")]
    frame = pandas.DataFrame([_row(rows) for _, rows in facts.groupby("file", sort=False)])
    widest = frame.loc[frame["half-width at 50 % (points)"].idxmax()]
    return frame, (f"{len(frame)} files hold {frame['n'].sum()} rows, of which {frame['flagged'].sum()} are flagged; "
                   f"on the smallest ({widest['n']} rows) an accuracy of 50 % is known to ±"
                   f"{widest['half-width at 50 % (points)']:.1f} points only.")


def _row(facts: pandas.DataFrame) -> dict:
    """One file's facts as a row of the table."""
    def value(name):
        return facts.loc[facts["fact"] == f"released_{name}", "value"]
    n, labels = int(value("rows").iloc[0]), facts[facts["fact"] == "released_label"]
    half = statistics.wilson(n // 2, n)
    flags = [f"{row.flag} {row.value:.0f}" for row in facts[facts["fact"] == "released_flag"].itertuples()]
    flags += ["labels spelled in several ways"] if value("spellings").iloc[0] else []
    return {"file": facts["file"].iloc[0], "n": n,
            "labels as written": " / ".join(f"{row.label} {row.value:.0f}" for row in labels.itertuples()) or None,
            "majority (%)": 100 * value("majority").sum() / n if len(labels) else None,
            "half-width at 50 % (points)": 50 * (half.high - half.low),
            "words in": " / ".join(f"{words:.1f}" for words in value("words_in")),
            "words out": value("words_out").iloc[0] if labels.empty else None,
            "duplicates": int(value("duplicates").iloc[0]), "flagged": int(value("flagged").iloc[0]),
            "flags": ", ".join(flags) or None}
