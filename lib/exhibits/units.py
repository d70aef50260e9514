"""Numbers as they are printed: a unit's factor, digits and name, an estimate with its interval, cells side by side."""
import pandas

from lib.engine.statistics import LEAST

# How a unit is printed: factor, digits, and the name of a difference in it.
UNITS = {"share": (100, 1, "points"), "%": (1, 1, "points"), "ρ": (100, 1, "points"), "AUC": (100, 1, "points"),
         "bits/byte": (1, 3, "bits/byte"), "times the base": (1, 2, "times"), "chrF++": (1, 1, "chrF++"),
         "BLEU": (1, 1, "BLEU"), "per token": (1, 1, "per token"), "tokens/s": (1, 1, "tokens/s")}
FEW = "†"  # behind an estimate of fewer items than LEAST


def in_print(unit: str) -> tuple[int, int, str]:
    """Factor, digits and name of a unit in print."""
    return UNITS.get(unit, (1, 2, unit))


def printed(found: pandas.DataFrame) -> pandas.DataFrame:
    """The rows in units of print: value, low and high times the factor of UNITS, shares as %."""
    factor = found["unit"].map(lambda unit: in_print(unit)[0]).astype(float)
    return found.assign(**{name: factor * found[name].astype(float) for name in ("value", "low", "high")},
                        unit=found["unit"].mask(factor == 100, "%"))


def interval(row, digits: int | None = None) -> str:
    """`1.42 [1.38, 1.46]`: an estimate in its unit of print, by default with the digits of UNITS; FEW where n is small."""
    factor, usual, _ = in_print(row["unit"])
    digits = usual if digits is None else digits
    value, low, high = (f"{factor * row[name]:z.{digits}f}" for name in ("value", "low", "high"))
    if row.get("n") == 1 and low == high:  # one item has no interval
        return f"{value}{FEW}"
    return f"{value} [{low}, {high}]{FEW * bool(row.get('n', LEAST) < LEAST)}"


def cells(found: pandas.DataFrame, p: pandas.Series | None = None) -> list[str]:
    """The estimate of every row as `interval` prints it, and its p where one is given."""
    texts = [interval(row) for row in found.to_dict("records")]
    return texts if p is None else [f"{text}, p {p_value(one)}" for text, one in zip(texts, p)]


def listed(found: pandas.DataFrame, form: str, between: str = ", ") -> str:
    """`fa 0.21 [0.10, 0.32], en …`: every row as `form` names it (`{language}`), then its estimate."""
    return between.join(f"{form.format(**row)} {interval(row)}" for row in found.to_dict("records"))


def wide(found: pandas.DataFrame, keys: list[str], column: str, cell: str = "") -> pandas.DataFrame:
    """Cells side by side: a row a combination of `keys`, a column a value of `column`, in order of appearance.

    A cell is the text in column `cell`, by default the estimate.
    """
    found, cell = (found, cell) if cell else (found.assign(estimate=cells(found)), "estimate")
    frame = found.pivot_table(cell, keys, column, aggfunc="first")[found[column].unique()].astype(object).fillna("")
    return found[keys].drop_duplicates().join(frame, on=keys).reset_index(drop=True)


def behind(found: pandas.DataFrame) -> str:
    """`, trainings 3`: how many trainings stand behind the rows; empty for rows from before these were counted."""
    trainings = found["trainings"].dropna().astype(int)
    return f", trainings {span(trainings)}" if len(trainings) else ""


def p_value(p) -> str:
    """`0.012`, or `< 0.001`: a p as it is printed in a table; empty where there is none."""
    return "" if pandas.isna(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"


def span(counts) -> str:
    """`40`, or `12 to 40`: the numbers of items that several scores rest on."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
