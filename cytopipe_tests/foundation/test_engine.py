"""One suite over every engine: order, laziness, errors, dead workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from cytopipe.engine import open_engine
from cytopipe.errors import EngineError, InputError, ParameterError

ENGINES = ["serial", "local:2", "dask:2"]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    with open_engine(request.param) as opened:
        yield opened


def square(number: int) -> int:
    return number * number


def slow_when_even(number: int) -> int:
    time.sleep(0.05 * (number % 2 == 0))
    return number


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("three is refused", where="refuse_three", found="3")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_the_order_of_the_items(engine):
    assert list(engine.map(slow_when_even, range(9))) == list(range(9))


def test_no_items_give_no_results(engine):
    assert list(engine.map(square, [])) == []


def test_progress_counts_every_result_once(engine):
    seen = []
    assert sum(engine.map(square, range(7), progress=lambda *counts: seen.append(counts))) == 91
    assert seen == [(done, 7) for done in range(1, 8)]


def test_an_error_in_a_worker_comes_through_whole(engine):
    with pytest.raises(InputError, match="refuse_three: three is refused; found 3"):
        list(engine.map(refuse_three, range(6)))


def test_an_engine_serves_again_after_an_error_and_after_an_abandoned_map(engine):
    with pytest.raises(InputError):
        list(engine.map(refuse_three, range(6)))
    abandoned = engine.map(square, range(100))
    next(abandoned)
    abandoned.close()
    assert list(engine.map(square, [5, 4])) == [25, 16]


def test_a_dead_worker_is_an_engine_error():
    with open_engine("local:1") as engine, pytest.raises(EngineError, match="a worker died"):
        list(engine.map(die, [1]))


def test_a_signal_to_the_process_group_leaves_the_workers_at_work():
    """As `timeout` and batch systems send it: the process that listens decides what becomes of the work."""
    program = (
        "import signal, time\n"
        "from cytopipe.engine import open_engine\n"
        "heard = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: heard.append(1))\n"
        "with open_engine('local:2') as engine:\n"
        "    for result in engine.map(time.sleep, [0.3] * 6):\n"
        "        print('result', flush=True)\n"
        "print(f'heard {len(heard)}')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "result\n"
    os.killpg(process.pid, signal.SIGTERM)
    rest = process.stdout.read()  # communicate() would lose what readline() has read beyond its line
    assert (process.wait(60), rest) == (0, "result\n" * 5 + "heard 1\n")


def test_a_running_dask_scheduler_is_used_by_its_address(tmp_path):
    """The address of a scheduler somebody else started is enough."""
    port_file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [*command, "--port", "0", "--no-dashboard", "--scheduler-file", str(port_file)],
        stderr=subprocess.DEVNULL,
    )
    worker = None
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(port_file)),
                *("--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)),
            ],
            stderr=subprocess.DEVNULL,
        )
        import json

        address = json.loads(port_file.read_text())["address"]
        with open_engine(f"dask:{address}") as engine:
            assert list(engine.map(pow_of_two, range(5))) == [1, 2, 4, 8, 16]
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.terminate()
                process.wait(20)


# `pow` under a name that a worker, which cannot import this test module, finds by reference.
pow_of_two = (1).__lshift__


def test_a_scheduler_that_does_not_answer_is_an_engine_error():
    with pytest.raises(EngineError, match=r"tcp://127.0.0.1:1: no Dask scheduler"):
        open_engine("dask:tcp://127.0.0.1:1")


@pytest.mark.parametrize("spec", ["", "cloud", "local:0", "local:x", "dask:host:1", "serial:2"])
def test_an_unknown_engine_is_refused_with_what_exists(spec):
    with pytest.raises(ParameterError, match="expected serial, local, local:N, dask"):
        open_engine(spec)
