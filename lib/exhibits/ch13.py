"""The exhibit of energy and carbon, from the records of all chapters."""
import pandas

from lib.engine import energy, records
from lib.exhibits.base import need, noted, reported, table

CHAPTER = "13_carbon"
SPENT = {"kWh": "kwh", "kWh low": "kwh_low", "kWh high": "kwh_high"}


@table("P2-T8", CHAPTER, "Carbon statement: devices × kW × h × PUE × grid factor")
def carbon_statement(profile: str):
    """One row a chapter by its own record, their sum, an estimate for the paper's size, and what PersianMind reports.

    Blanks are unknown; place and PUE are parameters of chapter 13, whose record also has the estimate.
    """
    parameters, facts = records.load(profile, CHAPTER)["parameters"], noted(profile, CHAPTER).drop_duplicates("fact")
    found, value = need(energy.ledger(profile)), facts.set_index("fact")["value"]
    found = pandas.concat([found, found.sum(numeric_only=True, skipna=False).to_frame("all chapters").T.rename_axis("step")
                           .reset_index()]).reset_index(drop=True)
    hours, pue, factor = found["seconds"].astype(float) / 3600, parameters["pue"], value["intensity"] / 1000
    frame = pandas.DataFrame({"run": found["step"], "devices": 1, "kW a device": found["kwh"].astype(float) / hours,
                              "hours": hours, "PUE": pue, "kg CO₂/kWh": factor,
                              **{name: pue * found[column].astype(float) for name, column in SPENT.items()}})
    estimate = dict(zip(SPENT, facts[facts["fact"] == "estimated_kwh"][["value", "low", "high"]].astype(float).iloc[0]))
    frame.loc[len(frame)] = {"run": "paper's size, estimate", "PUE": pue, "kg CO₂/kWh": factor, **estimate}
    frame["kg CO₂"] = frame["kWh"] * factor
    paper = reported().query("exhibit == 'P2-T8' and quantity == 'CO2 equivalent'")["value"].iloc[0]
    frame.loc[len(frame)] = {"run": "PersianMind, reported (4 × RTX 3090)", "devices": 4, "kg CO₂": paper}
    whole, guess = frame.iloc[-3], frame.iloc[-2]
    bounds = _bounds(1000 * whole["kWh low"], 1000 * whole["kWh high"])
    return frame, (
        f"{len(found) - 1} chapters took {1000 * whole['kWh']:.1f} Wh{bounds} in {60 * whole['hours']:.0f} min, that is "
        f"{whole['kg CO₂']:.4f} kg CO₂ on the grid of {parameters['country']}, where PersianMind reports {paper:.2f} kg and "
        f"this machine's energy a token, grown to {parameters['paper_tokens']:.2g} tokens and "
        f"{parameters['paper_parameters']:.2g} parameters, gives {_kilograms(factor, guess)}.")


def _kilograms(factor: float, guess: pandas.Series) -> str:
    """The estimate with its bounds, where it is known."""
    if pandas.isna(guess["kg CO₂"]):
        return "no known number"
    return f"{guess['kg CO₂']:,.0f} kg{_bounds(factor * guess['kWh low'], factor * guess['kWh high'])}"


def _bounds(low: float, high: float) -> str:
    """What a modelled value may be, in brackets, where it is known."""
    ends = (f"{float(f'{end:.2g}'):,g}" for end in (low, high))  # of two digits, since a model says no more
    return f" (between {' and '.join(ends)})" if pandas.notna(low) else ""
