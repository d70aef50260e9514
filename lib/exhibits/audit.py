"""Arithmetic of reported numbers: every printed average, sum, share and claimed difference made again from its parts.

A number is printed rounded, and so are the parts it is made from. A printed number agrees when it lies within half a
unit of its own last digit plus what half a unit of the last digit of every part can move the result: for a mean the
mean of those halves, for a sum or a difference their sum. Whole numbers below a sum of counts are taken as exact.

How rows point at their parts: `average` or `sum` in the column language or item stands for the other rows of the same
table, system and group; quantity `share` goes with the tokens or tasks of the same exhibit; system `a − b` or `a / b`
compares two systems.
"""
from decimal import Decimal

import pandas

COMBINED = {"average": "mean", "sum": "sum"}
COUNTS = ("tokens", "tasks")
PLACE = ["paper", "exhibit", "table", "system", "item", "language", "group", "quantity"]


def recompute(reported: pandas.DataFrame) -> pandas.DataFrame:
    """Every derived number of `reported` (columns PLACE, value, printed) beside what its parts give, one row each.

    Columns paper, table, row, what, printed, recomputed, difference (printed − recomputed), allowed (the most that
    rounding explains) and agrees.
    """
    numbers = reported[reported["value"].notna()].copy()
    numbers["half"] = [half_unit(printed) for printed in numbers["printed"]]
    single = numbers[~numbers["system"].str.contains(" − | / ")]
    found = [*_combined(single, "language"), *_combined(single, "item"), *_shares(single),
             *_comparisons(numbers, single), *_days(single)]
    return pandas.DataFrame([_verdict(*row) for row in found])


def half_unit(printed: str) -> float:
    """Half a unit of the last printed digit: 0.05 for `12.3`, 0.5 for `29`, 0 for a blank or a text."""
    try:
        return float(Decimal(5).scaleb(Decimal(printed).as_tuple().exponent - 1))
    except ArithmeticError:
        return 0.0


def _verdict(row, recomputed: float, parts: float, what: str) -> dict:
    name = " · ".join(filter(None, (row.system, row.item, row.group, row.language, row.quantity)))
    allowed, difference = row.half + parts, row.value - recomputed
    return {"paper": row.paper, "table": row.table, "row": name, "what": what, "printed": row.printed,
            "recomputed": round(recomputed, 3), "difference": round(difference, 3), "allowed": round(allowed, 3),
            "agrees": bool(abs(difference) <= allowed + 1e-9)}


def _combined(numbers, column: str):
    """Averages and sums over the languages, or over the items, of a group."""
    keys = [name for name in PLACE if name != column]
    parts = numbers[~numbers[column].isin(COMBINED)].groupby(keys)[["value", "half"]]
    for mark, how in COMBINED.items():
        made = parts.agg(how).assign(count=parts.size()).add_prefix("part_").reset_index()
        for row in numbers[numbers[column] == mark].merge(made, on=keys).itertuples():
            yield row, row.part_value, row.part_half, f"{how} over {row.part_count} {column}s"


def _shares(numbers):
    """Shares in % of the counts that the same exhibit prints for the same system."""
    whole = numbers[~numbers["item"].isin(COMBINED) & ~numbers["language"].isin(COMBINED)]
    counts = whole[whole["quantity"].isin(COUNTS)]
    for row in whole[whole["quantity"] == "share"].itertuples():
        same = counts[(counts["exhibit"] == row.exhibit) & (counts["system"] == row.system)]
        part = same[(same["item"] == row.item) & (same["language"] == row.language)]
        if len(part):
            total, count = same["value"].sum(), part.iloc[0]
            spread = 0 if count["quantity"] == "tasks" else 100 * count["half"] / total
            yield row, 100 * count["value"] / total, spread, f"share of {total:,.7g} {count['unit']}"


def _comparisons(numbers, single):
    """Claimed differences and ratios of two systems; language `not en` is the mean over all others."""
    for row in numbers[numbers["system"].str.contains(" − | / ")].itertuples():
        sides = row.system.split(" − " if " − " in row.system else " / ")
        (a, spread_a), (b, spread_b) = (_side(single, row, system) for system in sides)
        if " − " in row.system:
            yield row, a - b, spread_a + spread_b, f"difference of {a:.5g} and {b:.5g}"
        else:
            yield row, a / b, (spread_a + a / b * spread_b) / b, f"ratio of {a:.5g} and {b:.5g}"


def _side(numbers, row, system: str) -> tuple[float, float]:
    """Value and half unit of one system of a comparison."""
    same = numbers[numbers["system"] == system]
    for column in ("paper", "exhibit", "item", "group", "quantity"):
        same = same[same[column] == getattr(row, column)]
    wanted = ~same["language"].isin(["en", *COMBINED]) if row.language == "not en" else same["language"] == row.language
    return same.loc[wanted, "value"].mean(), same.loc[wanted, "half"].mean()


def _days(numbers):
    """Planned days of training: tokens over tokens a second of all GPUs."""
    for row in numbers[numbers["quantity"] == "training time planned"].itertuples():
        same = numbers[(numbers["system"] == row.system) & (numbers["paper"] == row.paper)].set_index("quantity")
        tokens, rate, half = same["value"]["tokens"] * 1e9, same["value"]["throughput"], same["half"]["throughput"]
        gpus = same["value"]["servers"] * same["value"]["GPUs a server"]
        days = tokens / (rate * gpus * 86400)
        yield row, days, days * half / rate, f"{tokens:.4g} tokens at {rate:g} tokens/s on each of {gpus:g} GPUs"
