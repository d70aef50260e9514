"""Forks of one process: what runs in them, how it ends, and what happens where none is to be had."""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from house import lives

from lib.engine import forks

PROBE = """
import os, signal, sys, time
import torch
try:
    print("ready", sys.argv[1:], os.getcwd(), os.environ["OWN"], torch.get_num_threads(), "fractions" in sys.modules, __name__,
          os.getpid(), flush=True)
    print("said to the other", file=sys.stderr, flush=True)
    time.sleep(float(sys.argv[1]))
except KeyboardInterrupt:
    sys.exit(7)
os.kill(os.getpid(), int(sys.argv[2])) if len(sys.argv) > 2 else sys.exit(3)
"""
GPU = "class accelerator:\n    is_available = staticmethod(lambda: True)\n"
AWAKE = """
import fractions, ipykernel.ipkernel, torch

def well():
    pass

def badly():
    import nothing_of_that_name
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The environment of a process that forks, and that finds the module `probe`."""
    folder = tmp_path_factory.mktemp("forks")
    _write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(forks.paths.ROOT), str(folder)]))
        with forks.serving(folder, "awake:well") as found:
            yield {**os.environ, **found, "OWN": "mine", "OMP_NUM_THREADS": "1"}


def _write(folder):
    (folder / "probe.py").write_text(PROBE)
    (folder / "awake.py").write_text(AWAKE)


def _begin(environment, folder, *arguments):
    """The command as Snakemake gives it, once its module has begun."""
    process = subprocess.Popen([*forks.COMMAND, "probe", *arguments], env=environment, cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    return process, process.stdout.readline()


def _gone(name, seconds=60):
    """Whether every process with that word in its environment has ended in time."""
    def alive():
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("OWN") == name and process.status() != psutil.STATUS_ZOMBIE:
                    return True
    until = time.monotonic() + seconds
    while alive() and time.monotonic() < until:
        time.sleep(0.2)
    return not alive()


def _ended(process):
    """Whether a process ends in time."""
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(60)
    return not lives(process)


def test_a_fork_is_what_the_command_would_be(served, tmp_path):
    process, said = _begin(served, tmp_path, "0")
    assert said.startswith(f"ready ['0'] {tmp_path} mine 1 True __main__ ")
    assert process.communicate() == ("", "said to the other\n") and process.returncode == 3


def test_without_a_process_that_forks_the_command_runs_the_module_itself(served, tmp_path):
    for place in ("", str(tmp_path / "nobody"), None):
        environment = {**served, forks.VARIABLE: place} if place is not None else {
            name: value for name, value in served.items() if name != forks.VARIABLE}
        process, said = _begin(environment, tmp_path, "0")
        assert said.startswith(f"ready ['0'] {tmp_path} mine 1 False __main__ ")
        assert process.communicate()[1] == "said to the other\n" and process.returncode == 3


@pytest.mark.parametrize("prepare, torch", [("awake:badly", ""), ("awake:well", GPU)], ids=["no such module", "a GPU"])
def test_where_importing_fails_or_there_is_a_gpu_too(prepare, torch, served, tmp_path, monkeypatch):
    (stub := tmp_path / "stub").mkdir()
    (stub / "torch.py").write_text(torch) if torch else None
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(stub), served["PYTHONPATH"]]))
    with forks.serving(tmp_path, prepare) as found:
        process, said = _begin(served | found, tmp_path, "0")
        assert said.startswith(f"ready ['0'] {tmp_path} mine 1 False __main__ ")
        assert process.wait() == 3


def test_a_name_too_long_for_a_socket_is_no_obstacle(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with forks.serving(folder, "awake:well") as found:
        assert found == {}


def test_a_command_outside_the_run_keeps_its_own_process(served, tmp_path):
    script = f"sleep 1; exec {' '.join(forks.COMMAND)} probe 0"  # the shell before it has ended by then
    said = subprocess.run(["sh", "-c", f"({script}) &"], cwd=tmp_path, env=served, stdout=subprocess.PIPE, text=True).stdout
    assert said.startswith(f"ready ['0'] {tmp_path} mine 1 False __main__ ")


def test_signals_reach_the_fork_and_its_end_is_the_commands(served, tmp_path):
    process, said = _begin(served, tmp_path, "60")
    process.send_signal(signal.SIGINT)
    assert said and process.wait(60) == 7
    process, said = _begin(served, tmp_path, "60")
    process.terminate()
    assert said and process.wait(60) == -signal.SIGTERM
    process, said = _begin(served, tmp_path, "0", str(int(signal.SIGKILL)))
    assert said and process.wait(60) == -signal.SIGKILL


def test_a_command_passes_signals_on_before_its_fork_begins(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "forks"))
        listening.listen()
        process = subprocess.Popen([*forks.COMMAND, "probe"], env=os.environ | {forks.VARIABLE: str(tmp_path / "forks")})
        line, _ = listening.accept()
        line.recv(*forks.LENGTH.unpack(line.recv(forks.LENGTH.size)), socket.MSG_WAITALL)
        line.sendall(forks.BEGUN)
        assert line.recv(1) == forks.BEGUN
        process.terminate()
        assert line.recv(1) == bytes([signal.SIGTERM])
        line.sendall(forks.STATUS.pack(5))
        assert process.wait(60) == 5


def test_a_killed_command_leaves_no_fork(served, tmp_path):
    process, said = _begin(served, tmp_path, "60")
    fork = psutil.Process(int(said.split()[-1]))
    process.kill()
    process.wait()
    assert _ended(fork)


def test_a_command_whose_run_is_gone_before_its_fork_is_there_runs_nothing(served, tmp_path):
    place = tmp_path / "forks"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        command = f"{' '.join(forks.COMMAND)} probe 0 > said & echo $!; wait"
        run = subprocess.Popen(["sh", "-c", command], env=served | {forks.VARIABLE: str(place)}, cwd=tmp_path,
                               stdout=subprocess.PIPE, text=True)
        asking = psutil.Process(int(run.stdout.readline()))
        line, _ = listening.accept()
        run.kill()
        run.wait()
    line.close()
    assert _ended(asking)
    assert (tmp_path / "said").read_text() == ""


def test_nothing_outlives_the_run_that_it_served(tmp_path):
    script = ("import os, subprocess, time\nfrom pathlib import Path\nfrom lib.engine import forks\n"
              f"with forks.serving(Path({str(tmp_path)!r}), 'awake:well') as found:\n"
              "    subprocess.Popen([*forks.COMMAND, 'probe', '60'], env=os.environ | found).wait()\n")
    search = os.pathsep.join([str(forks.paths.ROOT), str(tmp_path)])
    _write(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "OWN": "orphan", "PYTHONPATH": search})
    assert process.stdout.readline().startswith("ready")
    process.kill()
    process.wait()
    assert _gone("orphan")
