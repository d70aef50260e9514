"""Energy of a chapter in kWh, and what a kWh weighs in CO₂ on a country's grid.

codecarbon's offline tracker does the metering: RAPL counters where the machine shows them, else its model of CPU load,
and NVML for GPUs. kWh comes first, because a grid can be applied afterwards and never has to be guessed.
"""
import functools

import pandas
from codecarbon import OfflineEmissionsTracker
from codecarbon.external.hardware import CPU, MODE_CPU_LOAD
from codecarbon.external.logger import set_logger_level
from codecarbon.input import DataSource

from lib.engine import records

SAMPLE_SECONDS = 15  # codecarbon's own default interval between readings
TRAINING = ("03_pretraining", "04_alignment", "05_sft", "07_base_strength", "08_phases_and_transfer", "09_curriculum",
            "11_multilingual_benchmark", "12_rank_and_precision")


def start(chapter: str) -> OfflineEmissionsTracker:
    """Starts metering this machine for a chapter; the meter writes no file and asks no network."""
    set_logger_level("critical")
    # The intensity is forced to 0 so that no country is looked up: only the energy is read from this tracker.
    meter = OfflineEmissionsTracker(project_name=chapter, measure_power_secs=SAMPLE_SECONDS, output_methods=[],
                                    log_level="critical", allow_multiple_runs=True,
                                    force_carbon_intensity_g_co2e_kwh=0)
    meter.start()
    return meter


def stop(meter: OfflineEmissionsTracker) -> dict:
    """`{"kwh": energy of the machine since `start`, "kwh_method": how it was found}`; kwh is None if nothing could."""
    meter.stop()
    measured = getattr(meter, "final_emissions_data", None)
    if measured is None:
        return {"kwh": None, "kwh_method": "not measured: codecarbon found no meter on this machine"}
    return {"kwh": measured.energy_consumed, "kwh_method": _method(meter, measured)}


def intensity(country: str) -> float:
    """Grams of CO₂ equivalent per kWh of a country's grid (ISO 3166 alpha-3).

    The numbers are those of codecarbon's table, from Our World in Data. Raises ValueError for a
    country that the table does not have.
    """
    grid = _grids().get(country)
    if grid is None:
        raise ValueError(f"No grid is known for country {country!r}: use one of codecarbon's {len(_grids())} ISO 3166 "
                         "alpha-3 codes, e.g. IRN, DEU, FRA, USA.")
    return float(grid["carbon_intensity"])


def grid(country: str) -> str:
    """Name of the country and year of its figure, e.g. `Iran 2023`."""
    intensity(country)
    return f"{_grids()[country]['country_name']} {_grids()[country]['year']}"


def co2(kwh: float, country: str) -> float:
    """Kilograms of CO₂ equivalent of `kwh` on the country's grid."""
    return kwh * intensity(country) / 1000


def ledger(profile: str) -> pandas.DataFrame:
    """What each chapter with a record drew: step (the chapter), seconds, kwh (NaN if not measured), method."""
    rows = []
    for step in records.available(profile):
        measured = records.load(profile, step).get("measured")
        if measured and step != "13_carbon":
            rows.append({"step": step, "seconds": measured["seconds"], "kwh": measured.get("kwh"),
                         "method": measured.get("kwh_method", "")})
    return pandas.DataFrame(rows, columns=["step", "seconds", "kwh", "method"]).astype({"kwh": float})


def training(profile: str) -> pandas.DataFrame:
    """Tokens and seconds of the training in each chapter, and its kWh: its seconds at the chapter's mean power.

    The chapter's own kWh would be wrong here, because a finished training is not run again with its chapter.
    """
    spent = ledger(profile).set_index("step")
    facts = records.facts(profile, *spent.index)
    facts = facts[facts["fact"].isin(["tokens", "seconds"]) & facts["chapter"].isin(TRAINING)]
    rows = facts.pivot_table("value", "chapter", "fact", aggfunc="sum").astype(float)
    rows = rows.reindex(columns=["tokens", "seconds"])
    rows["kwh"] = rows["seconds"] * (spent["kwh"] / spent["seconds"]).reindex(rows.index)
    return rows.rename_axis("step").reset_index()


def parameters(profile: str) -> int:
    """Parameters of the model that was trained, as the chapters note them; ValueError when none does."""
    facts = records.facts(profile, *ledger(profile)["step"])
    found = facts.loc[facts["fact"] == "parameters", "value"]
    if found.empty:
        raise ValueError("No chapter notes how many parameters its model has, so nothing can be scaled to a paper's.")
    return int(found.iloc[0])


def scaled(kwh: float, tokens: float, parameters: float, to_tokens: float, to_parameters: float) -> float:
    """kWh of a larger training, if energy grows as tokens × parameters (the 6ND rule of Kaplan et al. 2020).

    An estimate: it assumes the hardware and the efficiency of the run that was measured.
    """
    return kwh * (to_tokens / tokens) * (to_parameters / parameters)


def _method(meter, measured) -> str:
    """Says in one line what was counted and what was modelled, with the watts that a model assumes."""
    descriptions = [hardware.description() for hardware in meter._hardware]
    processors = [hardware for hardware in meter._hardware if isinstance(hardware, CPU)]
    modelled = [f"CPU modelled from its load up to {processor._tdp:.0f} W (no RAPL counter)"
                for processor in processors if processor._mode == MODE_CPU_LOAD]
    return (f"codecarbon {measured.codecarbon_version}, whole machine: {' + '.join(descriptions)}; "
            + "; ".join([*modelled, f"RAM modelled at {measured.ram_power:.0f} W"]))


@functools.cache
def _grids() -> dict:
    return DataSource().get_global_energy_mix_data()
