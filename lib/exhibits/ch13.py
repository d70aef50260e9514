"""Exhibits of energy and carbon."""
import pandas

from lib.engine import records
from lib.exhibits.base import figure, noted, reported, table
from lib.exhibits.panels import PALETTE, axes


@table("C13-T1", "13_carbon", "Energy, time and CO₂ of every chapter")
def energy(profile: str):
    """One row a chapter and a total: seconds, Wh with bounds, mean watts, and grams of CO₂ on each grid."""
    facts = noted(profile, "13_carbon")
    spent = facts[facts["fact"].isin(["seconds", "kwh"])].pivot(index="step", columns="fact", values="value")
    spent = spent.join(facts[facts["fact"] == "kwh"].set_index("step")[["low", "high"]]).astype(float)
    grids = facts[facts["fact"] == "intensity"].set_index("country")["value"].astype(float)
    spent.loc["total"] = spent.sum(skipna=False)
    frame = pandas.DataFrame({"chapter": spent.index, "seconds": spent["seconds"].round().astype(int),
                              "Wh": 1000 * spent["kwh"], "Wh low": 1000 * spent["low"], "Wh high": 1000 * spent["high"],
                              "mean W": 3.6e6 * spent["kwh"] / spent["seconds"]})
    for code, intensity in grids.items():
        frame[f"g CO₂ {code}"] = spent["kwh"] * intensity
    total, most = frame.iloc[-1], frame.iloc[:-1].nlargest(1, "Wh").iloc[0]
    method = "; ".join(sorted(set(facts.loc[facts["fact"] == "method", "value"])))
    return frame.round(3), (f"All chapters took {total['Wh']:.2f} Wh{_bounds(total['Wh low'], total['Wh high'])} in "
                            f"{total['seconds'] / 60:.1f} min, {most['chapter']} most ({most['Wh'] / total['Wh']:.0%}); "
                            f"that is {total[f'g CO₂ {grids.index[0]}']:.1f} g CO₂ on the grid of {grids.index[0]}. One "
                            f"metering of one run, so without interval ({method}).")


@table("P2-T8", "13_carbon", "Carbon statement: GPUs × kW × h × PUE × grid factor")
def carbon_statement(profile: str):
    """This run, an estimate for a run of the paper's size, and what PersianMind reports; blank where unknown."""
    parameters, facts = records.load(profile, "13_carbon")["parameters"], noted(profile, "13_carbon")
    value = facts.drop_duplicates("fact").set_index("fact")
    value, estimate = value["value"], value.loc["estimated_kwh", ["value", "low", "high"]].astype(float)
    kwh, low, high = facts.loc[facts["fact"] == "kwh", ["value", "low", "high"]].astype(float).sum(skipna=False)
    hours = facts.loc[facts["fact"] == "seconds", "value"].astype(float).sum() / 3600
    paper = reported().query("exhibit == 'P2-T8' and quantity == 'CO2 equivalent'").iloc[0]
    factor, weighed = value["intensity"] / 1000, float(value["estimated_co2"] or "nan")
    shared = {"PUE": parameters["pue"], "kg CO₂/kWh": factor}
    rows = [{"run": "this run, metered", "devices": 1, "kW a device": kwh / hours / parameters["pue"], "hours": hours,
             **shared, "kWh": kwh, "kWh low": low, "kWh high": high, "kg CO₂": kwh * factor},
            {"run": "paper's size, estimate", **shared, "kWh": estimate["value"], "kWh low": estimate["low"],
             "kWh high": estimate["high"], "kg CO₂": weighed},
            {"run": "PersianMind, reported (4 × RTX 3090)", "devices": 4, "kg CO₂": paper["value"]}]
    told = f"{weighed:,.0f} kg{_bounds(factor * estimate['low'], factor * estimate['high'])}"
    return pandas.DataFrame(rows), (
        f"This run weighs {kwh * factor:.4f} kg CO₂ on the grid of {parameters['country']}; PersianMind reports "
        f"{paper['value']:.2f} kg. An estimate for {parameters['paper_tokens']:.2g} tokens and "
        f"{parameters['paper_parameters']:.2g} parameters at this machine's energy per token is "
        f"{told if pandas.notna(weighed) else 'not known'}: it assumes that energy grows as tokens × parameters on this "
        "very hardware.")


def _bounds(low: float, high: float) -> str:
    """What a modelled value may be, in brackets, where it is known."""
    return f" (between {low:,.4g} and {high:,.4g})" if pandas.notna(low) else ""


@figure("C13-F1", "13_carbon", "Energy of every chapter")
def energy_bars(profile: str):
    """Bars of Wh a chapter, training apart from the rest, with the chapter's minutes."""
    facts = noted(profile, "13_carbon")
    names = {"kwh": "total", "training_kwh": "training", "seconds": "seconds"}
    frame = facts[facts["fact"].isin(names)].pivot(index="step", columns="fact", values="value").astype(float)
    frame = frame.rename(columns=names).reindex(columns=names.values()).fillna({"training": 0}).reset_index()
    frame[["total", "training"]] *= 1000
    # A training kept from an earlier run may have taken longer than its chapter did this time.
    inside = frame["training"].clip(upper=frame["total"])
    drawing, panel = axes(height=0.8 + 0.24 * len(frame))
    panel.barh(frame["step"], frame["total"], color=PALETTE[5], label="rest of the chapter")
    panel.barh(frame["step"], inside, color=PALETTE[0], label="training")
    for place, row in frame.iterrows():
        panel.annotate(f"{row['seconds'] / 60:.1f} min", (row["total"], place), xytext=(3, 0),
                       textcoords="offset points", va="center", fontsize=7)
    panel.set(xlabel="energy (Wh)", xlim=(0, 1.25 * frame["total"].max()))
    panel.invert_yaxis()
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    share = f"{inside.sum() / frame['total'].sum():.0%}" if "training_kwh" in set(facts["fact"]) else "an unknown share"
    return drawing, frame, (f"Training takes {share} of {frame['total'].sum():.2f} Wh over {len(frame)} chapters "
                            "(one metering of one run, so without interval).")
