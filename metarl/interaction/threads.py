"""Threads of arithmetic, shared out between physics and learning."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


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
