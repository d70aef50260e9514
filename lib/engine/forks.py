"""Chapters and kernels as forks of one process that has imported the libraries, which takes each of them ten seconds else.

While `serving` lasts, `python -m lib.engine.forks MODULE …` is `python -m MODULE …` in a fork of that process: the command
hands its arguments, environment, folder and streams over, passes signals on, and ends as the fork ends; a fork whose command is
gone is killed. Where nothing answers (on another machine of a cluster, or where there is a GPU, whose libraries do not survive
a fork) the command runs the module itself.
"""
import contextlib
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from lib.engine import paths

COMMAND = (sys.executable, "-m", "lib.engine.forks")  # and a module with its arguments
VARIABLE = "COMPANION_FORKS"  # names the socket
BEGUN = b"+"  # what a command hears when it is to have a fork, and answers when it passes signals on
LENGTH, STATUS, WHO = struct.Struct("!I"), struct.Struct("!i"), struct.Struct("3i")
PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def serving(folder: Path, prepare: str, *arguments: str) -> Iterator[dict[str, str]]:
    """The environment in which commands find a process that has called `prepare`, a `module:function` that imports what they
    need, with the arguments; it ends with this one.

    Notebooks' kernels are forks too: what Jupyter finds as `python3` lies in the folder.
    """
    place, kernel = folder / "forks", folder / "kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    kernel.write_text(json.dumps({"argv": [*COMMAND, "ipykernel_launcher", "-f", "{connection_file}"],
                                  "display_name": "Python 3 (ipykernel)", "language": "python"}), "utf8")
    with socket.socket(socket.AF_UNIX) as listening:
        place.unlink(missing_ok=True)
        try:
            listening.bind(str(place))
        except OSError:  # a file system without sockets, or too long a name
            yield {}
            return
        listening.listen()
        # What cannot be imported is told by the chapter that imports it.
        server = subprocess.Popen([*COMMAND, "--serve", str(listening.fileno()), prepare, *arguments], cwd=paths.ROOT,
                                  stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[listening.fileno()])
    search = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_PATH")]))
    try:
        yield {VARIABLE: str(place), "JUPYTER_PATH": search}
    finally:
        server.kill()
        server.communicate()


def _serve(listening: socket.socket, prepare: str, *arguments: str) -> socket.socket | None:
    """Prepares and forks for every command that asks; in the fork it returns the command's line."""
    for number in PASSED:
        signal.signal(number, signal.SIG_IGN)  # a stop by hand is passed on by those who asked
    if not _able():
        return None
    pkgutil.resolve_name(prepare)(*arguments)
    gc.freeze()  # else every fork's first search for garbage copies the libraries' million objects
    gc.set_threshold(700, 10, 10)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    while sys.stdin not in (ready := select.select([listening, sys.stdin], [], [])[0]):
        line, _ = ready[0].accept()
        if not os.fork():
            listening.close()
            return line
        line.close()
    return None


def _able() -> bool:
    """Whether what a fork needs is to be had here: a system that tells of processes' ends, and no GPU. (macOS' libraries
    begin threads that a fork lacks.)"""
    import torch
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return not torch.accelerator.is_available()


def _watch(line: socket.socket, run: int) -> tuple[dict, list[int]]:
    """Forks once more, returns in that fork what the command asked for and its streams, and never in the one that watches it:
    this passes signals on, tells the end, and kills the fork when the command is gone.

    It ends at once for a command outside the `run` (its process): a scheduler's job keeps its own limits.
    """
    import psutil
    asking, _, _ = WHO.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, WHO.size))
    if run not in (process.pid for process in psutil.Process(asking).parents()):
        os._exit(0)
    head, streams, *_ = socket.recv_fds(line, LENGTH.size, 3)
    request = json.loads(line.recv(*LENGTH.unpack(head), socket.MSG_WAITALL))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line.sendall(BEGUN)
    if line.recv(len(BEGUN)) != BEGUN:  # the command is gone, or was stopped before it had a fork to tell
        os._exit(0)
    fork = os.fork()
    if not fork:
        line.close()
        return request, streams
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(fork)
    while ended not in select.select([line, ended], [], [])[0]:
        os.kill(fork, *(line.recv(1) or [signal.SIGKILL]))
    with contextlib.suppress(ConnectionError):
        line.sendall(STATUS.pack(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])))
    os._exit(0)


def _become(request: dict, streams: list[int]):
    """Runs the module that a command asked for as if this process had been started for it."""
    import threadpoolctl
    import torch
    from ipykernel.parentpoller import ParentPollerUnix
    os.setsid()  # signals come through the command, once
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    for number in PASSED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    # Libraries read it when they are loaded, and take no more than there are.
    if threads := min(int(os.environ.get("OMP_NUM_THREADS") or 0), len(os.sched_getaffinity(0))):
        torch.set_num_threads(threads)
        threadpoolctl.threadpool_limits(threads)
    ParentPollerUnix(os.getppid()).start()
    _run(request["arguments"])


def _run(arguments: list[str]):
    """What `python -m` does with these arguments."""
    # It is imported, maybe, and run once more: so it is, too, when a chapter imports the module that runs it.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _ask(arguments: list[str]) -> socket.socket | None:
    """A line to the fork that runs the arguments' module for this command; None where nothing answers."""
    content = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    line = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        line.connect(os.environ.get(VARIABLE, ""))
        socket.send_fds(line, [LENGTH.pack(len(content))], [0, 1, 2])
        line.sendall(content)
        if line.recv(len(BEGUN)):
            return line
    line.close()
    return None


def _follow(line: socket.socket, parent: int) -> int:
    """Passes signals on until the fork ends, and returns its exit status; 1 when it, or this command's parent, is gone."""
    for number in PASSED:
        signal.signal(number, lambda number, _: line.sendall(bytes([number])))
    line.sendall(BEGUN)
    while not select.select([line], [], [], 1)[0]:
        if os.getppid() != parent:
            return 1
    status = line.recv(STATUS.size, socket.MSG_WAITALL)
    return STATUS.unpack(status)[0] if status else 1


def main(arguments: list[str]) -> int | None:
    """Runs a module in a fork, or here; or, for `serving`, is the process that forks."""
    if arguments[0] == "--serve":
        run = os.getppid()
        with socket.socket(fileno=int(arguments[1])) as listening:
            line = _serve(listening, *arguments[2:])
        return _become(*_watch(line, run)) if line else 0
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a fork to tell
    parent, line = os.getppid(), _ask(arguments)
    if not line:
        if os.getppid() != parent:
            return 1  # nobody is left to wait for it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return _run(arguments)
    status = _follow(line, parent)
    if status < 0:  # ended by a signal: so does this
        if -status in PASSED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
