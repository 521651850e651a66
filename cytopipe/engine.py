"""Where heavy work runs: in this process, in a pool of local processes, or on Dask.

A domain hands an engine a plain function and an ordered list of items and gets the results back in
that same order, whatever finished first: so bytes never depend on the engine or on how many workers
it has. At most a few items per worker are in flight, which bounds memory however long the list is.
An error in a worker surfaces as it was raised; a worker that dies is an `EngineError`.

    spec                     workers
    serial                   this process
    local, local:4           forkserver processes, as many as there are cores or as said
    dask, dask:4             a Dask cluster of processes on this machine, on loopback
    dask:tcp://host:8786     a Dask scheduler that is already running (SLURM, Kubernetes, ...)
"""

from __future__ import annotations

import itertools
import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from cytopipe.errors import CytopipeError, EngineError, MissingToolError, ParameterError

__all__ = ["Engine", "available_cores", "open_engine"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]

_IN_FLIGHT_PER_WORKER = 3  # one running, one waiting at the worker, one on its way


def available_cores() -> int:
    """Cores this process may use: its CPU affinity, which a SLURM or container limit narrows."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Engine(ABC):
    """A place to run `function(item)` for many items; a context manager that ends its workers."""

    name: str
    workers: int

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """Yield ``function(item)`` for every item, in the order of `items`.

        Parameters
        ----------
        function : callable
            Importable by name (no lambda) on every engine but ``serial``.
        items : iterable
            Each must be picklable on every engine but ``serial``.
        progress : callable, optional
            Called as ``progress(done, total)`` after each result.

        Raises
        ------
        EngineError
            If a worker died. Errors raised by `function` come through as they are.
        """
        listed = items if isinstance(items, Sequence) else list(items)
        for done, result in enumerate(self._results(function, listed), start=1):
            if progress is not None:
                progress(done, len(listed))
            yield result

    @abstractmethod
    def _results(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]: ...

    @abstractmethod
    def close(self) -> None:
        """End the workers; pending work is dropped."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<engine {self.name}, {self.workers} worker{'s' if self.workers > 1 else ''}>"


class _Serial(Engine):
    name = "serial"
    workers = 1

    def _results(self, function, items):
        return map(function, items)

    def close(self) -> None:
        """Nothing to end: the work ran in this process."""


class _Pooled(Engine):
    """Keeps a bounded window of futures in flight and yields them in order."""

    def _results(self, function, items):
        window: deque[Any] = deque()
        waiting = iter(items)
        try:
            for item in itertools.islice(waiting, _IN_FLIGHT_PER_WORKER * self.workers):
                window.append(self._submit(function, item))
            while window:
                result = self._result(window.popleft())
                for item in itertools.islice(waiting, 1):
                    window.append(self._submit(function, item))
                yield result
        finally:
            for future in window:
                future.cancel()

    @abstractmethod
    def _submit(self, function: Callable, item: object) -> Any: ...

    @abstractmethod
    def _result(self, future: Any) -> Any: ...


class _LocalPool(_Pooled):
    name = "local"

    def __init__(self, workers: int) -> None:
        # Forkserver: forking a process that holds HDF5, numba or Dagster threads can deadlock.
        import multiprocessing

        self.workers = workers
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["cytopipe._workers"])
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_keyboard_interrupt)

    def _submit(self, function, item):
        try:
            return self._pool.submit(function, item)
        except BrokenProcessPool as error:
            raise _worker_died(self) from error

    def _result(self, future: Future):
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _worker_died(self) from error

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Dask(_Pooled):
    name = "dask"

    def __init__(self, address: str | None, workers: int) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise MissingToolError(
                "engine 'dask' needs the package distributed",
                next="Install it with: pip install dask distributed",
            ) from error
        self._cluster = None
        if address is None:
            self._cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs="ERROR",
            )
        try:
            self._client = Client(address or self._cluster, timeout="10s", set_as_default=False)
            self._client.wait_for_workers(1, timeout=60)
        except (OSError, TimeoutError) as error:
            raise EngineError(
                "no Dask scheduler with a worker answers",
                where=address or "local cluster",
                next="Start one with `dask scheduler` and `dask worker`, or set engine: local.",
            ) from error
        self.workers = max(1, sum(self._client.nthreads().values()))

    def _submit(self, function, item):
        # pure=False: Dask would otherwise hash every item to look for a result it has seen.
        return self._client.submit(function, item, pure=False)

    def _result(self, future):
        from distributed import CancelledError, KilledWorker

        try:
            return future.result()
        except CytopipeError:
            raise
        except (KilledWorker, CancelledError) as error:
            raise _worker_died(self) from error

    def close(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def open_engine(spec: str = "local") -> Engine:
    """Open the engine that `spec` names; close it, or use it in a ``with`` block.

    Parameters
    ----------
    spec : str
        ``serial``, ``local``, ``local:N``, ``dask``, ``dask:N`` or ``dask:ADDRESS``.

    Raises
    ------
    ParameterError
        If `spec` is none of these.
    EngineError
        If a Dask scheduler does not answer within ten seconds.
    """
    kind, _, detail = spec.partition(":")
    if spec == "serial":
        return _Serial()
    if kind in ("local", "dask") and (not detail or re.fullmatch(r"[1-9]\d{0,3}", detail)):
        workers = int(detail) if detail else available_cores()
        return _LocalPool(workers) if kind == "local" else _Dask(None, workers)
    if kind == "dask" and re.fullmatch(r"(tcp|tls|ucx|wss?)://\S+", detail):
        return _Dask(detail, workers=0)
    raise ParameterError(
        "no such engine",
        where="engine",
        expected="serial, local, local:N, dask, dask:N or dask:tcp://HOST:PORT",
        found=repr(spec),
    )


def _ignore_keyboard_interrupt() -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what to save and when to stop.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker_died(engine: Engine) -> EngineError:
    return EngineError(
        "a worker died before it gave its result",
        where=f"engine {engine.name}",
        next="It was probably killed for memory: use fewer workers (engine: local:1), then resume.",
    )
