"""Energy of chapters and trainings in kWh, and what a kWh weighs in CO₂ on a country's grid.

codecarbon knows the machine: RAPL counters where it shows them, else a CPU's rated power; RAM by its slots; NVML for
GPUs. Of that a meter takes the share of its own process and its children, so that what runs side by side is not booked
twice. kWh comes first, because a grid can be applied afterwards and never has to be guessed.
"""
import contextlib
import functools
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas
import psutil
from codecarbon import OfflineEmissionsTracker
from codecarbon.external.hardware import CPU, MODE_CPU_LOAD, SystemCPULoadMeter
from codecarbon.external.logger import set_logger_level
from codecarbon.input import DataSource

from lib.engine import records

SAMPLE_SECONDS = 15  # codecarbon's own default interval between readings
IDLE = 0.1  # of a CPU's rated power: what codecarbon's model of its load leaves it when nothing runs
SPENT = ["seconds", "kwh", "kwh_low", "kwh_high"]

_trainings: dict[Path, dict] = {}  # that the running chapter rests on
_made: list[dict] = []  # what those of them took that it made itself


class Meter(NamedTuple):
    """codecarbon's tracker, once it knows the machine, and when the meter began: the clock, and CPU seconds of this
    process tree and of the machine."""

    begun: Future
    clock: float
    used: float
    busy: float

    @property
    def tracker(self) -> OfflineEmissionsTracker:
        """The tracker, waited for where it has not begun yet."""
        return self.begun.result()


def start(name: str) -> Meter:
    """Starts metering this process and its children; the meter writes no file and asks no network."""
    # codecarbon asks other programs about the machine, which takes a second: nobody waits for it.
    begun = ThreadPoolExecutor(1).submit(_tracker, name)
    return Meter(begun, time.monotonic(), _used(), _busy())


def stop(meter: Meter) -> dict:
    """seconds, kwh, kwh_low, kwh_high and kwh_method since `start`; every kWh is None where no meter was found.

    A modelled CPU counts by the CPU seconds used of those there were, as in codecarbon's tracking of processes, and a
    metered one by those used of the busy ones; RAM counts likewise, a GPU as a whole. The low end takes a modelled CPU
    at its idle floor and no RAM, which is on anyway; the high one is the whole machine's, a modelled CPU under full load.
    """
    seconds, used, busy = time.monotonic() - meter.clock, _used() - meter.used, _busy() - meter.busy
    meter.tracker.stop()
    found = getattr(meter.tracker, "final_emissions_data", None)
    if found is None:
        return {"seconds": seconds, **dict.fromkeys(SPENT[1:]),
                "kwh_method": "not measured: codecarbon found no meter on this machine"}
    watts = sum(processor._tdp for processor in _modelled(meter))
    share = used / max(psutil.cpu_count() * seconds if watts else busy, used, 1e-9)
    cpu = watts * seconds / 3.6e6 if watts else found.cpu_energy
    least, gpu = share * cpu * (IDLE if watts else 1), found.gpu_energy
    return {"seconds": seconds, "kwh": gpu + share * (cpu + found.ram_energy), "kwh_low": gpu + least,
            "kwh_high": gpu + cpu + found.ram_energy, "kwh_method": _method(meter, found)}


@contextlib.contextmanager
def metered(name: str):
    """A dict that holds what `stop` says when the block has ended, however it did."""
    meter, spent = start(name), {}
    try:
        yield spent
    finally:
        spent |= stop(meter)


def begin(chapter: str) -> Meter:
    """Starts metering a chapter, which rests on no training yet."""
    _trainings.clear()
    _made.clear()
    return start(chapter)


def rest_on(folder: Path, energy: dict, tokens: int, spent: dict | None = None):
    """Notes a training that the running chapter rests on: its energy, and what was `spent` if it was made just now."""
    _trainings[folder.resolve()] = {"of": folder.name, "tokens": tokens, **{name: energy.get(name) for name in SPENT}}
    _made.extend([spent] if spent else [])


def finish(meter: Meter) -> dict:
    """What a chapter took, as `stop` says it, of all its `parts`: its own last run, and each training that it rests on,
    whenever that was made."""
    found = stop(meter)
    made = total([dict.fromkeys(SPENT, 0.0), *_made])
    own = {name: None if None in (found[name], made[name]) else max(0.0, found[name] - made[name]) for name in SPENT}
    parts = [{"of": "the rest", **own}, *_trainings.values()]
    return {**total(parts), "kwh_method": found["kwh_method"], "parts": parts}


def total(parts: list[dict]) -> dict:
    """Sum of what several parts took; None where one of them does not know."""
    values = {name: [part.get(name) for part in parts] for name in SPENT}
    return {name: None if None in found else sum(found) for name, found in values.items()}


def times(spent: dict, factor: float) -> dict:
    """What a multiple of the work would have taken."""
    return {**spent, **{name: None if spent[name] is None else spent[name] * factor for name in SPENT}}


def intensity(country: str) -> float:
    """Grams of CO₂ equivalent per kWh of a country's grid (ISO 3166 alpha-3).

    The numbers are those of codecarbon's table, from Our World in Data. Raises ValueError for a
    country that the table does not have.
    """
    return float(_grid(country)["carbon_intensity"])


def grid(country: str) -> str:
    """Name of the country and year of its figure, e.g. `Iran 2023`."""
    return f"{_grid(country)['country_name']} {_grid(country)['year']}"


def co2(kwh: float, country: str) -> float:
    """Kilograms of CO₂ equivalent of `kwh` on the country's grid."""
    return kwh * intensity(country) / 1000


def ledger(profile: str) -> pandas.DataFrame:
    """What each chapter with a record took: step (the chapter), seconds, kwh, kwh_low, kwh_high (NaN if not known),
    method. Older records know their last run alone."""
    rows = []
    for step in records.available(profile):
        found = records.load(profile, step)
        if found.get("measured") and step != "13_carbon":
            spent = total(found["rows"]["energy"]) if "energy" in found["rows"] else found["measured"]
            rows.append({"step": step, **{name: spent.get(name) for name in SPENT},
                         "method": found["measured"].get("kwh_method", "")})
    return pandas.DataFrame(rows, columns=["step", *SPENT, "method"]).astype(dict.fromkeys(SPENT, float))


def training(profile: str) -> pandas.DataFrame:
    """What the trainings that each chapter rests on took together: step, tokens, seconds, kwh, kwh_low, kwh_high."""
    steps = [step for step in records.available(profile) if "energy" in records.load(profile, step)["rows"]]
    rows = [{"step": step, "tokens": sum(part["tokens"] for part in parts), **total(parts)} for step in steps
            if (parts := [part for part in records.load(profile, step)["rows"]["energy"] if "tokens" in part])]
    return pandas.DataFrame(rows, columns=["step", "tokens", *SPENT]).astype(dict.fromkeys(["tokens", *SPENT], float))


def parameters(profile: str) -> int:
    """Parameters of the model that was trained, as the chapters note them; ValueError when none does."""
    facts = records.facts(profile, *ledger(profile)["step"])
    found = facts.loc[facts["fact"] == "parameters", "value"]
    if found.empty:
        raise ValueError("No chapter notes how many parameters its model has, so nothing can be scaled to a paper's.")
    return int(found.iloc[0])


def scaled(kwh: float, tokens: float, parameters: float, to_tokens: float, to_parameters: float) -> float:
    """kWh of a larger training, if energy grows as tokens × parameters (the 6ND rule of Kaplan et al. 2020).

    An estimate: it assumes the hardware and the efficiency of the run that was measured. NaN when nothing was trained.
    """
    return math.nan if not tokens else kwh * (to_tokens / tokens) * (to_parameters / parameters)


def _tracker(name: str) -> OfflineEmissionsTracker:
    set_logger_level("critical")
    # The intensity is forced to 0 so that no country is looked up: only the energy is read from this tracker.
    tracker = OfflineEmissionsTracker(project_name=name, measure_power_secs=SAMPLE_SECONDS, output_methods=[],
                                      log_level="critical", allow_multiple_runs=True,
                                      force_carbon_intensity_g_co2e_kwh=0)
    tracker.start()
    return tracker


def _modelled(meter: Meter) -> list[CPU]:
    """The processors without a counter, of which only the load is known."""
    return [part for part in meter.tracker._hardware if isinstance(part, CPU) and part._mode == MODE_CPU_LOAD]


def _used() -> float:
    """CPU seconds of this process, of its living children, and of those that it has waited for."""
    spent = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def _busy() -> float:
    """CPU seconds that all of the machine was busy."""
    return SystemCPULoadMeter._busy_time(psutil.cpu_times())


def _method(meter: Meter, found) -> str:
    """Says in one line what was counted and what was modelled, with the watts that a model assumes."""
    names = [part.description() for part in meter.tracker._hardware]
    modelled = [f"CPU modelled by the time used of it, up to {part._tdp:.0f} W (no RAPL counter)"
                for part in _modelled(meter)]
    return (f"codecarbon {found.codecarbon_version}, share of this process tree: {' + '.join(names)}; "
            + "; ".join([*modelled, f"RAM modelled at {found.ram_power:.0f} W; from the CPU's idle floor without RAM to "
                                    "the whole machine under full load"]))


@functools.cache
def _grid(country: str) -> dict:
    grids = DataSource().get_global_energy_mix_data()
    if country not in grids:
        raise ValueError(f"No grid is known for country {country!r}: use one of codecarbon's {len(grids)} ISO 3166 "
                         "alpha-3 codes, e.g. IRN, DEU, FRA, USA.")
    return grids[country]
