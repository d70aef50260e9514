"""The ledger of the papers' claims as a table."""
import pandas

from lib import claims
from lib.tables.base import interval, table

# How a unit is printed: factor, digits, name.
UNITS = {"share": (100, 1, "points"), "bits/byte": (1, 3, "bits/byte"), "times the base": (1, 2, "times")}


@table("C14-T3", "14_paper", "The papers' claims, and what the records say to them")
def ledger(profile: str):
    """One row a test under its claim's verdict, with the effect, what it had to be, and the record that it rests on."""
    found = claims.ledger(profile)
    rows = [{"id": row["id"], "claim": row["claim"], "paper": row["paper"], "verdict": row["verdict"],
             "test": row["label"], "effect": _effect(row), "expected": expected(row), "n": _whole(row["n"]),
             "seeds": _whole(row["seeds"]), "test verdict": row["test_verdict"], "remark": row["remark"],
             "record": f"{row['chapter']}: {row['metric']} ({row['labels']})"} for row in found.to_dict("records")]
    return pandas.DataFrame(rows), reading(found)


def reading(found: pandas.DataFrame) -> str:
    """How many claims have which verdict, and which are decided."""
    verdicts = found.drop_duplicates("id").set_index("id")["verdict"]
    counts = ", ".join(f"{(verdicts == verdict).sum()} {verdict}" for verdict in claims.VERDICTS)
    named = "; ".join(f"{verdict}: {', '.join(verdicts.index[verdicts == verdict])}"
                      for verdict in (claims.SUPPORTED, claims.REFUTED) if (verdicts == verdict).any())
    made = found[found["test_verdict"] != claims.ABSENT]
    return (f"Of {len(verdicts)} claims {counts}{f' ({named})' if named else ''}. {len(made)} of {len(found)} tests "
            "have a record; a verdict rests on the whole 95 % interval, uncorrected for the number of claims, and holds for "
            "models and training of demonstration scale.")


def expected(row) -> str:
    """The bound as a reader would say it: `> 0`, `< 0.020 bits/byte`, `within ±5.0 points`."""
    if row["unit"] not in UNITS:  # without record there is no unit
        return f"{row['expect']} {row['bound']:g}"
    factor, digits, unit = UNITS[row["unit"]]
    bound = f"{factor * row['bound']:.{digits}f} {unit}" if row["bound"] else "0"
    return {"above": f"> {bound}", "below": f"< {bound}", "within": f"within ±{bound}"}[row["expect"]]


def _effect(row) -> str:
    if row["test_verdict"] == claims.ABSENT:
        return ""
    factor, digits, unit = UNITS.get(row["unit"], (1, 3, row["unit"]))
    return f"{interval({name: factor * row[name] for name in ('value', 'low', 'high')}, digits)} {unit}"


def _whole(number) -> str:
    return "" if pandas.isna(number) else f"{number:.0f}"
