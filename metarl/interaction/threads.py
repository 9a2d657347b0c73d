"""Threads of arithmetic, shared out between physics and learning.

Learning uses no team of threads that waits at barriers: while one of them is off the processor, the
others spin, which on a machine that is not all ours costs most of the speed. Chunks of tasks
are work items for a few Python threads instead, each with one torch thread (torch releases the
interpreter's lock), and results are put together in the order of the tasks: bits do not depend on
the number of threads.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

_FEWEST_STATES = 4000  # of a chunk
T = TypeVar("T")
R = TypeVar("R")
_cores: ContextVar[int | None] = ContextVar("cores", default=None)


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """So many threads of torch, also in Python threads that start inside, and of NumPy's BLAS.

    Restored afterwards.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _thread_pools().limit(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def num_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread of arithmetic, but for `on_all_cores`, which uses as many as torch had."""
    token = _cores.set(_cores.get() or torch.get_num_threads())
    try:
        with arithmetic_threads(1):
            yield
    finally:
        _cores.reset(token)


def on_all_cores(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function of every item, in their order; as many at once as torch has threads."""
    workers = min(_cores.get() or torch.get_num_threads(), len(items))
    # a single one too: on the main thread kernels may be others, and so the last bits. Each thread
    # is told by itself: some kernels (an LSTM's) ask OpenMP, which keeps the number by thread
    told = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    with arithmetic_threads(1), told as pool:
        return list(pool.map(function, items))


def task_chunks(num_tasks: int, size: int, states: int | None = None) -> list[slice]:
    """Slices of about `size` tasks, an even number of them if there are several.

    With few states per task, `size` grows: a chunk of less than some thousand states costs its
    calls, not its arithmetic. The slices depend on nothing else, so that what is computed chunk by
    chunk does not either.
    """
    if states is not None:
        size = max(size, min(-(-_FEWEST_STATES // states), -(-num_tasks // 2)))
    count = -(-num_tasks // size)
    if count > 1:
        count = min(num_tasks, count + count % 2)
    bounds = [num_tasks * index // count for index in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]
