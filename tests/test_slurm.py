"""A sweep on SLURM: Debian's slurm-wlm and munge as a cluster of one node with two GPUs that only seem to be there."""
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time

import house
import pandas
import pytest

from lib.engine import paths, records

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SWEEP = "profile: smoke\nchapter: 02_tokenizer\nmemory: 0.5\nminutes: 60\ngrid: {rows: [3, 4]}\n"
# Of the node's GPUs there are device files, and that is all that SLURM asks for.
DEVICES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
CONFIGURATION = """ClusterName=companion
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
KillWait=2
MessageTimeout=60
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1500 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES State=UP
PartitionName=gpu Nodes={host} State=UP
"""


@pytest.fixture(scope="module", autouse=True)
def installed():
    """SLURM's programs, installed where they are missing; skips where that cannot be."""
    if all(map(shutil.which, PROGRAMS)) and os.geteuid() == 0:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("SLURM cannot be installed or started here: that takes root and apt-get")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "slurm-wlm", "munge"]):
        done = subprocess.run(["apt-get", "--quiet", *command], env=quiet, text=True, capture_output=True)
        if done.returncode:
            pytest.skip(f"SLURM cannot be installed here: apt-get {command[0]} says {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of its own, beside any that the machine may have; yields the variables that lead SLURM's commands."""
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, ports=_ports(),
                                                            cores=os.cpu_count()))
    (folder / "gres.conf").write_text(DEVICES)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    # Snakemake takes SLURM's variables from a job's step, so srun is told by another way where its cluster is.
    (folder / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    (folder / "srun").chmod(0o755)
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder}:{os.environ['PATH']}"}
    places = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file", "log-file",
                                                                         "seed-file")]
    with contextlib.ExitStack() as daemons:
        munged = ["munged", "--foreground", "--force", *places]
        for command in (munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]):
            daemons.enter_context(_process(command, folder / f"{command[0]}.out", variables))
            _wait(lambda: (folder / "munge.socket").exists(), "munge did not start", folder / "munged.out")
        _wait(lambda: "idle" in _ask(variables, "sinfo", "--noheader", "--format=%t"), "no node came up",
              folder / "slurmctld.out")
        yield variables
        _ask(variables, "scancel", "--user", "root")


@contextlib.contextmanager
def _process(command, log, variables, folder=None):
    """A process that prints to a file and ends with the block."""
    with open(log, "w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=folder,
                                   env=house.environment(**variables))
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ports():
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0)), second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _ask(variables, *command):
    return subprocess.run(command, env={**os.environ, **variables}, text=True, capture_output=True).stdout


def _wait(condition, otherwise, log, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{otherwise}: {log.read_text()[-2000:] if log.exists() else 'no log'}"
        time.sleep(0.2)


def _jobs(variables, *states):
    """Ids of the cluster's jobs in these states."""
    return _ask(variables, "squeue", "--noheader", "--format=%i", f"--states={','.join(states)}").split()


def test_a_sweep_goes_through_slurm_and_a_cancelled_job_comes_back(cluster, tmp_path):
    root = house.build(tmp_path / "house")
    shutil.copytree(paths.PARAMS / "cluster", root / "params/cluster")
    (root / "params/sweeps").mkdir()
    (root / "params/sweeps/tiny.yaml").write_text(SWEEP)
    records.write_json(root / "runs/smoke/01_corpus/record.json", {})
    command = [sys.executable, "-m", "lib.engine.sweep", "params/sweeps/tiny.yaml", "--cluster", "slurm",
               "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "4"]
    with _process(command, root / "printed", cluster, root) as running:
        _wait(lambda: _jobs(cluster, "RUNNING"), "no job started", root / "printed", 600)
        cancelled = _jobs(cluster, "RUNNING")[0]
        _ask(cluster, "scancel", cancelled)
        status = running.wait(timeout=1200)
    log = (root / "runs/smoke/sweeps/02_tokenizer/tiny.log").read_text()
    assert status == 0, (root / "printed").read_text() + log
    assert _jobs(cluster, "CANCELLED") == [cancelled] and len(_jobs(cluster, "COMPLETED")) == 2
    assert "GRES" not in log and "gpu:1" in _ask(cluster, "scontrol", "show", "job", _jobs(cluster, "COMPLETED")[0])
    table = pandas.read_csv(root / "runs/smoke/sweeps/02_tokenizer/tiny.csv").set_index("rows")
    assert table.state.to_dict() == {3: "done", 4: "done"}
    assert "2 of 2 cells of sweep tiny done" in (root / "printed").read_text()
