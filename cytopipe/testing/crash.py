"""Writers killed, starved and raced; what a reader finds afterwards, counted.

Each campaign publishes a :class:`~cytopipe.testing.contracts.Contract` into an empty directory and returns
:class:`Figures`. A campaign runs in a process of its own that has every import behind it, and
forks its writers from there: a kill costs milliseconds and falls into the protocol rather than into start-up,
and a library that a fault has left damaged dies with its writer. Only what was read and verified is counted
as whole, and a version that a writer was told is published is counted as lost where it is missing afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from cytopipe.errors import CytopipeError
from cytopipe.storage import Store, Sync
from cytopipe.testing.contracts import Contract

__all__ = ["CALLS", "Figures", "inject_faults", "kill_writers", "race", "trace_publication", "warm_apart"]

CALLS = (
    "openat,read,pread64,write,pwrite64,writev,lseek,ftruncate,fallocate,fsync,fdatasync,syncfs,flock,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,link,linkat,"
    "readlink,readlinkat,getdents64,utimensat,newfstatat,statx,copy_file_range,sendfile"
)
"""The file-system calls a publication makes, as strace names them."""

OK, TOLD, UNTOLD, KILLED = (
    0,
    10,
    11,
    -signal.SIGKILL,
)  # how a writer ended: published, a CytopipeError, any other exception


@dataclass
class Figures:
    """What was done and what was found.

    Parameters
    ----------
    trials : int
        Kills, faults, or readings.
    old, new : int
        Readings that gave the version before, or the one being published.
    torn : int
        Readings that gave anything else, or raised.
    lost : int
        Readings that gave a version older than one already acknowledged.
    untold : int
        Writers that ended with something other than a clear error.
    notes : list of str
        One sentence for each reading that was not whole and each untold error.
    """

    trials: int = 0
    old: int = 0
    new: int = 0
    torn: int = 0
    lost: int = 0
    untold: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing torn, nothing lost, nothing untold."""
        return not (self.torn or self.lost or self.untold)

    def __str__(self) -> str:
        head = (
            f"{self.trials} trials: {self.old} old, {self.new} new, {self.torn} torn, {self.lost} lost, "
            f"{self.untold} untold"
        )
        return "\n".join([head, *self.notes[:20]])


# --------------------------------------------------------------------------- a process of its own

P, R = ParamSpec("P"), TypeVar("R")
_apart = False  # whether this process is the one that campaigns run in


def warm_apart(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of a module so that calls of it run in a process that has every import behind it.

    The server of :mod:`multiprocessing` would not do: a process has one, and whoever starts it first decides
    what it has imported.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        if _apart:
            return function(*arguments, **named)
        return _process_apart().submit(call, *arguments, **named).result()

    return call


@functools.cache
def _process_apart() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_warm_up)


def _warm_up() -> None:
    global _apart
    _apart = True
    import cytopipe.testing.warm  # noqa: F401


# --------------------------------------------------------------------------- kill -9 at a random moment


@warm_apart
def kill_writers(
    contract: Contract, root: Path, kills: int, *, seed: int = 0, sync: Sync = Sync.FULL
) -> Figures:
    """Kill a writer that publishes version after version, at a moment drawn at random, and read; `kills`
    times.

    Parameters
    ----------
    contract : Contract
    root : Path
        Empty directory.
    kills : int
    seed : int
        Of the moments.

    Returns
    -------
    Figures
    """
    rng, figures = random.Random(seed), Figures()
    store = Store(root, sync=sync)
    contract.publish(store, 1)
    began = time.perf_counter()
    for version in range(2, 5):
        contract.publish(store, version)
    typical_s = (time.perf_counter() - began) / 3
    standing = 4
    context = multiprocessing.get_context("fork")
    acknowledged = context.Value("q", standing, lock=False)
    for _ in range(kills):
        acknowledged.value = standing
        ready = context.Event()
        writer = context.Process(
            target=_publish_on, args=(contract, root, sync, standing, ready, acknowledged), daemon=True
        )
        writer.start()
        ready.wait(60)
        time.sleep(rng.uniform(0, 2.5 * typical_s))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        standing = _count(contract, root, sync, acknowledged.value, figures)
    return figures


def _publish_on(contract: Contract, root: Path, sync: Sync, version: int, ready, acknowledged) -> None:
    store = Store(root, sync=sync)
    ready.set()
    while True:
        version += 1
        contract.publish(store, version)
        acknowledged.value = version


def _count(contract: Contract, root: Path, sync: Sync, acknowledged: int, figures: Figures) -> int:
    """Read as a newcomer would, and classify; return the version to go on from."""
    figures.trials += 1
    try:
        found = contract.read(Store(root, sync=sync))
    except (CytopipeError, AssertionError, OSError, ValueError, KeyError) as error:
        figures.torn += 1
        figures.notes.append(f"trial {figures.trials}: {type(error).__name__}: {error}")
        shutil.rmtree(root)
        contract.publish(Store(root, sync=sync), acknowledged + 2)
        return acknowledged + 2
    if found == acknowledged:
        figures.old += 1
    elif found == acknowledged + 1:
        figures.new += 1
    else:
        figures.lost += 1
        figures.notes.append(f"trial {figures.trials}: read {found} after {acknowledged} was acknowledged")
    return max(found, acknowledged)


# --------------------------------------------------------------------------- a fault at the k-th call


@warm_apart
def inject_faults(contract: Contract, root: Path, fault: str, *, first: int = 1, stride: int = 1) -> Figures:
    """Publish under ``strace -e inject`` with a fault at the k-th file-system call, k = first, first + stride
    ...

    The calls of an undisturbed publication are listed first; each of them is then made to fail once, in a
    publication of its own, until none is left. After each trial a newcomer reads, the next publication has to
    succeed, and nothing may be left in staging.

    Parameters
    ----------
    contract : Contract
    root : Path
        Empty directory.
    fault : {'EIO', 'ENOSPC', 'SIGKILL'}
    first, stride : int
        Which k.

    Raises
    ------
    FileNotFoundError
        strace is not installed.
    """
    if shutil.which("strace") is None:
        raise FileNotFoundError("strace is not installed")
    figures, sync = Figures(), Sync.FULL
    contract.publish(Store(root, sync=sync), 1)
    _, trace = _publish_traced(contract, root, 2, None)
    version = 2
    for call, occurrence in _calls_of(trace)[first - 1 :: stride]:
        action = "signal=SIGKILL" if fault == "SIGKILL" else f"error={fault}"
        how, trace = _publish_traced(contract, root, version + 1, f"inject={call}:{action}:when={occurrence}")
        if "(INJECTED)" not in trace and how != KILLED:
            continue  # this time the publication made one call fewer of this kind
        at, new = f"{fault} at {call} {occurrence}", figures.new
        found = _count(contract, root, sync, version, figures)
        if how == OK and figures.new == new:
            figures.lost += 1
            figures.notes.append(f"{at}: acknowledged, but version {found} was read")
        if how not in (OK, TOLD, KILLED):
            figures.untold += 1
            figures.notes.append(f"{at}: the writer did not end with a clear error: {trace[-300:]}")
        version = found + 2
        contract.publish(Store(root, sync=sync), version)
        store = Store(root, sync=sync)
        store.sweep(0)
        left = [*root.rglob(".staging/*"), *store.verify()]
        if left:
            figures.torn += 1
            figures.notes.append(f"{at}: left behind {left[0]}")
    return figures


@warm_apart
def trace_publication(contract: Contract, root: Path) -> str:
    """The file-system calls of one undisturbed publication over an existing one, as strace prints them
    (``-y``).
    """
    contract.publish(Store(root), 1)
    return _publish_traced(contract, root, 2, None)[1]


def _calls_of(trace: str) -> list[tuple[str, int]]:
    """Every call of a trace with its number among the calls of its kind and thread, in order, each once."""
    seen: dict[tuple[str, str], int] = {}
    calls: dict[tuple[str, int], None] = {}
    for thread, call in re.findall(r"^(?:\[pid +(\d+)\] )?(\w+)\(", trace, flags=re.MULTILINE):
        seen[thread, call] = seen.get((thread, call), 0) + 1
        calls[call, seen[thread, call]] = None
    return list(calls)


def _publish_traced(contract: Contract, root: Path, version: int, inject: str | None) -> tuple[int, str]:
    """One writer under strace: how it ended, and the trace."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=_publish_once, args=(contract, root, version, ready), daemon=True)
    writer.start()
    ready.wait(60)
    with _strace(writer.pid, inject) as lines:
        os.kill(writer.pid, signal.SIGUSR1)
        writer.join(120)
    return writer.exitcode, "".join(lines)


def _publish_once(contract: Contract, root: Path, version: int, ready) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    ready.set()
    signal.sigwait({signal.SIGUSR1})  # strace is attached by now
    try:
        contract.publish(Store(root), version)
    except CytopipeError:
        os._exit(TOLD)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(UNTOLD)
    os._exit(OK)


@contextlib.contextmanager
def _strace(pid: int, inject: str | None) -> Iterator[list[str]]:
    """Attach to a process; the list holds the whole trace at the end."""
    command = [
        "strace",
        "-f",
        "-y",
        "-p",
        str(pid),
        "-e",
        f"trace={CALLS}",
        *(["-e", inject] if inject else []),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if "attached" in line:
            break
    else:
        raise OSError("".join(lines) or "strace could not attach")
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    reader.start()  # drained while it runs, or a long trace would stall the writer
    try:
        yield lines
    finally:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join(60)
        process.stderr.close()


# --------------------------------------------------------------------------- writers and readers at once


@warm_apart
def race(
    contract: Contract, root: Path, *, writers: int = 8, readers: int = 2, seconds: float = 2.0
) -> Figures:
    """Let writers publish over each other while readers read; every reading has to be whole.

    Each writer has version numbers of its own, so that a mixture is seen. `trials` are the readings; `new`
    counts them, `untold` the writers that failed.
    """
    contract.publish(Store(root), 1)
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    results = context.Queue()
    processes = [
        context.Process(target=_race_writer, args=(contract, root, index, stop, results))
        for index in range(writers)
    ]
    processes += [
        context.Process(target=_race_reader, args=(contract, root, stop, results)) for _ in range(readers)
    ]
    for process in processes:
        process.start()
    time.sleep(seconds)
    stop.set()
    figures = Figures()
    for _ in processes:
        found = json.loads(results.get(timeout=120))
        for name, value in found.items():
            setattr(figures, name, getattr(figures, name) + value)
    for process in processes:
        process.join(60)
    return figures


def _race_writer(contract: Contract, root: Path, index: int, stop, results) -> None:
    untold, notes, count = 0, [], 0
    store = Store(root)
    while not stop.is_set():
        count += 1
        try:
            contract.publish(store, (index + 1) * 1_000_000 + count)
        except Exception as error:
            untold += 1
            notes.append(f"writer {index}: {type(error).__name__}: {error}")
            break
    results.put(json.dumps({"untold": untold, "old": count, "notes": notes}))


def _race_reader(contract: Contract, root: Path, stop, results) -> None:
    trials, torn, notes = 0, 0, []
    store = Store(root)
    while not stop.is_set():
        trials += 1
        try:
            contract.read(store)
        except Exception as error:
            torn += 1
            notes.append(f"reading {trials}: {type(error).__name__}: {error}")
    results.put(json.dumps({"trials": trials, "new": trials - torn, "torn": torn, "notes": notes}))


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m cytopipe.testing.crash FOLDER KILLS``: kill writers of every contract and print the
    figures.
    """
    from cytopipe.testing.contracts import CONTRACTS

    folder, kills = (arguments or sys.argv[1:])[:2]
    clean = True
    for name, contract in CONTRACTS.items():
        figures = kill_writers(contract, Path(folder, name), int(kills))
        clean = clean and figures.clean
        print(f"{name}: {figures}", flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
