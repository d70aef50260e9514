"""The frame around a chapter: begin checks and announces, finish measures and writes the record."""
import gc
import html
import random
import sys
import time
import warnings

import numpy
import transformers
from IPython.display import display

from lib.engine import assets, energy, keys, launch, machine, markup, params, records, run

SHOWN = ("torch", "transformers", "peft", "trl", "datasets")  # versions that a reader is told; the record has all
_meters: dict[str, tuple] = {}


def begin(chapter: str, variables: dict) -> records.Record:
    """Checks the chapter's parameters (taken from the notebook's `globals()`), tells device, dtype, seed and versions.

    Seeds every generator, settles how trainings are launched and starts the energy meter. Returns the record to fill.
    Raises params.ParameterError.
    """
    # Bare papermill only warns of an unknown parameter; the names it injected are checked here too.
    values = {name: variables[name] for name in params.defaults(chapter) | params.injected(variables)}
    values = params.check(chapter, values, "the notebook's parameters")
    record = records.Record(chapter, values, machine.describe() | launch.settle(values["profile"]).describe())
    record.content |= {"key": keys.of_chapter(chapter, values), "rests": run.rests(values["profile"], chapter)}
    _settle(values["seed"])
    _announce(record.content["environment"], values["seed"])
    if needed := run.offer(values["profile"], chapter):
        print(needed)
    _meters[chapter] = time.monotonic(), energy.begin(chapter)
    return record


def missing(record: records.Record, *names: str, instead: str = "rows made from the corpus stand in") -> list[str]:
    """The public files among `names` (assets of kind files) that are not at hand, noted, and told in one line with what is
    done `instead`."""
    found = assets.titles(assets.absent(*names))
    record.lack(found)
    if found:
        print(f"Not at hand: {', '.join(found.values())}; {instead}.")
    return list(found)


def without(record: records.Record, name: str, instead, lack: str):
    """`instead` of a parameter whose default asks for what the corpus lacks (a key of `params.LACKS`); told in a line.

    Raises params.ParameterError when the value is the user's own (`params.written`).
    """
    values = record.content["parameters"]
    if values[name] == instead:
        return instead
    if name in params.written(record.profile, record.chapter, values):
        raise params.ParameterError(f"{record.chapter}: `{name}` is {values[name]!r}, but {params.LACKS[lack]}: add it, "
                                    f"or take `{name}` out of the parameter file.")
    print(f"{params.lack(lack)} So `{name}` is {instead!r}.")
    record.rows("without", [{"parameter": name, "instead": instead, "lack": lack}])
    return instead


def finish(record: records.Record):
    """Stops the meter and writes `record.json` with the seconds of this run, peak memory in bytes, and the kWh of the
    chapter and all trainings that it rests on, whose parts are its rows `energy`."""
    started, meter = _meters.pop(record.chapter)
    spent = energy.finish(meter)
    record.rows("energy", spent.pop("parts"))
    spent["seconds"] = round(time.monotonic() - started, 1)
    path = record.write(peak_memory=machine.peak_memory(), **spent)
    print(f"{path.name} of {record.chapter} written: {record.content['measured']['seconds']:.0f} s, "
          f"{len(record.content['metrics'])} metrics, {len(record.content['facts'])} facts.")


def _settle(seed: int):
    """Seeds every generator, shows frames whole, and quietens what a reader cannot act on."""
    import torch
    if not gc.get_freeze_count():
        # Libraries are no garbage: else each training's end, and each table of p values, searches their million objects.
        gc.freeze()
        gc.set_threshold(700, 10, 10)  # Python's own again, which `lib` raised for the imports
    markup.settle()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)  # transformers.set_seed does the same, and takes three seconds to import
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # PEFT and TRL still ask every model for this attribute, once a training.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")


def _announce(environment: dict, seed: int):
    """One line, behind which versions and launch are folded away."""
    summary = f"{environment['device']} · {environment['dtype']} · seed {seed}"
    told = [f"{environment['dtype']}: {environment['dtype_reason']}",
            " · ".join([f"Python {environment['python']}", *(f"{name} {environment['packages'][name]}" for name in SHOWN)])]
    if "launch" in environment:
        found = environment["launch"]
        told.append(f"trainings by {found['name'] or 'this process'} · processes {found['processes']} · "
                    f"{found['at_once'] or 'all'} examples at once")
    display(markup.Markup(markup.folded(summary, "<br>".join(map(html.escape, told))), "\n".join([summary, *told])))
