"""Where trainings run: in the chapter's own process, or in several processes that Accelerate launches.

`params/<profile>/launch.yaml` says it for a profile (`KEYS`), `params/accelerate/` holds configurations of
`accelerate launch`. What a training computes depends on neither.
"""
import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from lib.engine import params, paths

KEYS = """
accelerate = ""  # what launches trainings: a file of params/accelerate/ or a path to one; empty: the chapter's own process
at_once = 0  # examples of a batch that a device computes at once, 0: all of its share [0..]
"""
DEEPSPEED = "DEEPSPEED"
_ERROR = r"^(?:\[rank\d+\]: ?)?([\w.]*(?:Error|Exception|Interrupt)(?:: .+)?)$"  # the last line of a traceback


class Launch(NamedTuple):
    """A configuration of `accelerate launch`, or None for this process, and how many examples a process computes at
    once of its share of a batch: 0 for all of them."""

    config: Path | None = None
    at_once: int = 0

    @property
    def name(self) -> str:
        """What the configuration is called; empty for this process."""
        return self.config.stem if self.config else ""

    @property
    def processes(self) -> int:
        """How many processes share a batch, over all machines."""
        return self._read().num_processes if self.config else 1

    @property
    def format(self) -> str:
        """What its checkpoints are written for, where a launch of another kind cannot read them; else empty."""
        kind = self._read().distributed_type.value if self.config else ""
        return {"FSDP": "FSDP", DEEPSPEED: f"{DEEPSPEED} {self.processes}"}.get(kind, "")

    def accumulation(self, batch_size: int) -> int:
        """In how many parts, one after the other, each process computes its share of a batch.

        Raises ValueError unless processes and parts are of one size.
        """
        share, rest = divmod(batch_size, self.processes)
        if rest or self.at_once and share > self.at_once and share % self.at_once:
            raise ValueError(f"A batch of {batch_size} cannot be shared by {self.processes} processes with "
                             f"{self.at_once or 'all'} examples at once: make batch_size a multiple of "
                             f"{self.processes * max(self.at_once, 1)}, or change `accelerate` or `at_once` in the "
                             "profile's launch.yaml.")
        return max(1, share // self.at_once) if self.at_once else 1

    def describe(self) -> dict:
        """What a record's environment keeps of it; empty for this process and whole batches."""
        told = {"name": self.name, "processes": self.processes, "at_once": self.at_once}
        return {"launch": told} if self != Launch() else {}

    def check(self):
        """RuntimeError when this machine cannot launch it."""
        import torch
        found = self._read() if self.config else None
        if found and found.distributed_type.value == DEEPSPEED and not importlib.util.find_spec("deepspeed"):
            raise RuntimeError(f"{paths.shown(self.config)} needs DeepSpeed, which is not installed: "
                               "`pip install deepspeed`, or name fsdp in the profile's launch.yaml.")
        needed, here = (found.num_processes // found.num_machines if found else 0), torch.accelerator.device_count()
        if found and not found.use_cpu and needed > here:
            raise RuntimeError(f"{paths.shown(self.config)} wants {needed} GPUs of this machine, which has {here}: "
                               "lower num_processes in a copy of it and name that in the profile's launch.yaml.")

    def _read(self):
        """The configuration as Accelerate reads it."""
        from accelerate.commands.config.config_args import load_config_from_file
        return load_config_from_file(str(self.config))


_current = Launch()


def load(profile: str) -> Launch:
    """The launch of a profile: its `launch.yaml`, which may be missing. Raises ParameterError as `params.check` does, or
    for what Accelerate cannot read."""
    path = paths.parameters(profile, "launch")
    values = params.compared(params.model(KEYS), params.read(path) if path.exists() else {}, paths.shown(path), "a launch")
    config = paths.accelerate(values["accelerate"]) if values["accelerate"] else None
    if config and not config.is_file():
        known = ", ".join(sorted(file.stem for file in paths.PARAMS.glob("accelerate/*.yaml"))) or "none"
        raise params.ParameterError(f"{paths.shown(path)}: key `accelerate` is {values['accelerate']!r}, but there is no file "
                                    f"{paths.shown(config)}; there are: {known}.")
    found = Launch(config, values["at_once"])
    try:
        processes = found.processes
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise params.ParameterError(f"{paths.shown(config)} is no configuration of `accelerate launch`: {error}.") from error
    if processes < 1:
        raise params.ParameterError(f"{paths.shown(config)}: key `num_processes` is {processes}, but it has to be 1 or more.")
    return found


def settle(profile: str) -> Launch:
    """Makes the profile's launch the current one."""
    global _current
    _current = load(profile)
    return _current


def current() -> Launch:
    """How trainings are launched now."""
    return _current


@contextlib.contextmanager
def using(launch: Launch):
    """Makes a launch the current one within the block; `Launch()` is this process."""
    global _current
    before, _current = _current, launch
    try:
        yield launch
    finally:
        _current = before


def run(launch: Launch, module: str, folder: Path):
    """Runs `python -m <module> <folder> --parent <this process>` in every process; prints their lines as they come.

    What they write to standard error is kept in `<folder>/log.txt`. Raises RuntimeError when one fails.
    """
    from accelerate.utils.memory import clear_device_cache
    clear_device_cache(garbage_collection=True)  # they may need what this process holds of a GPU and no longer uses
    # The trainings choose their number format themselves.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch.config),
               "--mixed_precision", "no", "-m", module, str(folder.resolve()), "--parent", str(os.getpid())]
    environment = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}  # no bars in a pipe
    search = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))
    with open(folder / "log.txt", "w", encoding="utf8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
                                   env=environment | {"PYTHONPATH": search, "PYTHONUNBUFFERED": "1"})
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
            status = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    if status:
        raise RuntimeError(_failure(launch, status, folder / "log.txt"))


def end_with(parent: int):
    """Ends this process, and with it all others, when the one that launched them is gone."""
    while psutil.pid_exists(parent):
        time.sleep(1)
    os._exit(1)


def _failure(launch: Launch, status: int, log: Path) -> str:
    """One sentence on a launch that failed, and the last lines before its first error."""
    text = log.read_text(encoding="utf8", errors="replace")
    error = re.search(_ERROR, text, re.M)
    last = text[:error.end() if error else None].rstrip().split("\n")[-8:]
    return (f"A process of {launch.name} failed ({error[1] if error else f'exit status {status}'}); checkpoints are kept, "
            "and the same command continues from them. Its last lines, of " + "\n  ".join([f"{paths.shown(log)}:", *last]))
