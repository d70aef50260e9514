"""The table of paired differences: labels, n, `estimate [low, high]`, p, p by Holm, and the sentence on it."""
import pandas

from lib.engine import statistics
from lib.exhibits.base import need
from lib.exhibits.units import LEAST, behind, cells, in_print, interval, p_value, span


def differences(found: pandas.DataFrame, keys: dict[str, str], lead: str = "", told: str = "", pooled: str = "",
                family: tuple = (), column: str = "difference", of: str = "items") -> tuple[pandas.DataFrame, str]:
    """(frame, reading) of metrics that are paired differences, shares in points.

    `keys`: labels that tell the rows apart → headings. `told`: a query for the rows that the sentence names behind
    `lead`. `pooled` and `family` as in `corrected`. Raises Lacking when there is no row.
    """
    found = corrected(need(found), pooled, family)
    # Records made before trainings were counted do not know them.
    counted = ["trainings"] if found["trainings"].notna().all() else []
    frame = found[[*keys, "n", *counted]].rename(columns=keys).assign(**{
        column: cells(found), "p": found["p"].map(p_value), "p (Holm)": found["holm"].map(p_value)})
    return frame.reset_index(drop=True), sentence(found, list(keys), lead, told, of)


def corrected(found: pandas.DataFrame, pooled: str = "", family: tuple = ()) -> pandas.DataFrame:
    """With a column holm: p by Holm (1979) over the rows that share the labels `family`, by default over all rows.

    Rows of the query `pooled` sum up others: they are no tests of their own and have none.
    """
    found = found.reset_index(drop=True).assign(holm=float("nan"))
    single = found.drop(index=found.query(pooled).index) if pooled else found
    for _, rows in single.groupby(list(family) or (lambda row: 0), dropna=False):
        found.loc[rows.index, "holm"] = statistics.holm(rows["p"].astype(float))
    return found


def sentence(found: pandas.DataFrame, keys: list[str], lead: str, told: str, of: str = "items") -> str:
    """Of the told rows the one of least p, how many rows stand after correction, and the n."""
    shown = found.query(told) if told else found[:0]
    among = f" (the least p of {len(shown)})" if len(shown) > 1 else ""
    units = {in_print(unit)[2] for unit in shown["unit"]} if "measure" not in keys else ()
    unit = f" {units.pop()}" if len(units) == 1 else ""
    names = _names(shown, [key for key in keys if f"{key} ==" not in told and key != "unit"])
    # Equal p, of which a bootstrap has many, give way to the interval that is farthest from 0.
    sure = shown["value"].abs() / (shown["high"] - shown["low"]).clip(lower=1e-9)
    order = shown.assign(sure=-sure.astype(float), p=shown["p"].astype(float).fillna(1)).reset_index(drop=True)
    order = order.sort_values(["p", "sure"])
    clearest = order.index[0] if len(shown) else 0
    ends = f"{names[clearest]} {interval(shown.iloc[clearest])}".strip() if len(shown) else ""
    tested = found[(found["n"] >= LEAST) & found["holm"].notna()]
    small = (tested["holm"] < 0.05).sum()
    said = (f"{small} of {len(tested)} differences on {LEAST} {of} or more {'has' if small == 1 else 'have'} p < 0.05 after "
            "Holm's correction") if len(tested) else f"no difference rests on {LEAST} {of} or more"
    return (f"{f'{lead} {ends}{unit}{among}; ' if ends else ''}{said} (n = {span(found['n'])} {of}{behind(found)}, "
            "paired; demonstration scale).")


def _names(shown: pandas.DataFrame, keys: list[str]) -> list[str]:
    """The labels by which the rows differ, and always the side that they are compared with."""
    varying = [key for key in keys if key == "against" or len(shown) == 1 or shown[key].nunique() > 1]
    if varying[:1] == ["against"]:
        varying = [*varying[1:], "against"]  # nothing before it would say what is held against
    return [", ".join(f"against {row[key]}" if key == "against" else f"{row[key]}" for key in varying)
            .replace(", against", " against") for row in shown.to_dict("records")]
