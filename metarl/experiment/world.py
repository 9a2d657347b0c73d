"""All processes that train together: what each of them does, and what they bring together.

The one file that knows `torch.distributed`. Every process runs the same program on its share of
the tasks. What they bring together is put in the order of the tasks and added in that order, in
float64, so that results do not depend on how many processes there are.
"""

import atexit
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from metarl.errors import MachineError, TrainingError
from metarl.interaction.threads import on_all_cores
from metarl.params import sum_of_rows
from metarl_envs.errors import one_line

_PATIENCE = timedelta(minutes=30)  # for the slowest process
_TO_ANSWER_S = 2.0  # after the loss of a process
_MOST_AXES, _NO_AXIS = 6, -1
BOTH_BACKENDS = "cpu:gloo,cuda:nccl"
_DTYPES = (torch.float64, torch.float32, torch.int64, torch.uint8)
T = TypeVar("T")


@dataclass
class Traffic:
    """What bringing together has cost this process.

    Attributes:
        seconds: spent in each of the latest calls, waiting for slower processes included.
        calls: collective operations.
        sent: bytes that this process gave.
    """

    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    sent: int = 0


class Spent(NamedTuple):
    """Seconds of a process that were not its own work.

    Attributes:
        communication_s: in calls, from when the last process has come.
        waiting_s: for it.
    """

    communication_s: float = 0.0
    waiting_s: float = 0.0


class Alone:
    """The world of a single process."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.traffic = Traffic()

    def share(self, count: int) -> slice:
        """All of them."""
        return slice(0, count)

    def gather(self, values_MP: Tensor) -> Tensor:
        """The rows themselves: no other process has any."""
        return values_MP

    def sum_over_tasks(self, values_MP: Tensor) -> Tensor:
        """Row after row, in float64: shape (P,)."""
        return sum_of_rows(values_MP)

    def largest(self, *numbers: int) -> list[int]:
        """The numbers."""
        return list(numbers)

    def all(self, flag: bool) -> bool:
        """The flag itself."""
        return flag

    def total(self, function: Callable[[T], Tensor], items: Sequence[T]) -> Tensor:
        """The sum of the function over items, in float64."""
        return torch.stack(on_all_cores(function, items)).double().sum(0)

    @contextmanager
    def first_alone(self, what: str) -> Iterator[bool]:
        """True: there is nobody else."""
        yield True

    def note(self, what: str) -> None:
        """Nobody would start this process again."""

    def noted(self, what: str) -> bool:
        """Nothing was."""
        return False

    def spent(self) -> Spent:
        """Nothing."""
        return Spent()

    def tell(self, text: str) -> list[str]:
        """The text alone."""
        return [text]


class Processes:
    """The world of one of several processes.

    Args:
        store: by which they find out who was lost; None where somebody else has connected them.
        launch: a store that outlives them where a launcher starts them again.
    """

    def __init__(self, store: dist.Store | None, launch: dist.Store | None) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.traffic = Traffic()
        self._store, self._launch = store, launch
        self._names = [f"process {rank}" for rank in range(self.size)]
        self._names = self.tell(f"process {self.rank} (pid {os.getpid()}, {socket.gethostname()})")

    def share(self, count: int) -> slice:
        """Neighbours, as many in each process as possible."""
        return self._share_of(self.rank, count)

    def _share_of(self, rank: int, count: int) -> slice:
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def gather(self, values_MP: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks; other axes are the same."""
        return self._joined(values_MP).to(values_MP)

    def _joined(self, values_MP: Tensor | None) -> Tensor:
        """The rows of all processes; None from one that has no rows."""
        plain = torch.empty(0) if values_MP is None else values_MP
        plain = plain.byte() if plain.dtype == torch.bool else plain
        headers = self._numbers(_header(plain)).tolist()
        rows = [header[0] for header in headers]
        if not len(plain):
            plain = _zeros_by(headers[rows.index(max(rows))])[:0]
        return self._put_together(plain, rows)

    def _put_together(self, own: Tensor, rows: Sequence[int]) -> Tensor:
        """So many rows of each process."""
        padded = own.new_zeros(max(rows), *own.shape[1:])
        padded[: len(own)] = own
        return torch.cat([p[:n] for p, n in zip(self._all_gather(padded), rows, strict=True)])

    def sum_over_tasks(self, values_MP: Tensor) -> Tensor:
        """Row after row of all processes, in float64: shape (P,)."""
        return sum_of_rows(self.gather(values_MP))

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each process's first, second, ... number."""
        return self._numbers(numbers).max(0).values.tolist()

    def all(self, flag: bool) -> bool:
        """Whether the flag is set in every process."""
        return bool(self._numbers([flag]).all())

    def total(self, function: Callable[[T], Tensor], items: Sequence[T]) -> Tensor:
        """The sum of the function over items, in float64; every process takes its share of them."""
        own = items[self.share(len(items))]
        found = torch.stack(on_all_cores(function, own)) if own else None
        if found is None or len(items) < self.size:  # then not all know what a row is
            return self._joined(found).double().sum(0)
        rows = [len(items[self._share_of(rank, len(items))]) for rank in range(self.size)]
        return self._put_together(found, rows).double().sum(0)

    @contextmanager
    def first_alone(self, what: str) -> Iterator[bool]:
        """Whether this process is the first, which alone acts inside; where it fails, all end.

        Args:
            what: is done inside, for the sentence that the others end with.

        Raises:
            TrainingError: where another one failed.
        """
        try:
            yield self.rank == 0
        except BaseException as error:
            self._numbers([0])
            raise error
        sound = self._numbers([1]).flatten().tolist()
        if not all(sound):
            name = self._names[sound.index(0)]
            raise TrainingError(f"{name} could not {what}, see its message")

    def note(self, what: str) -> None:
        """Keep a mark for processes that a launcher starts after these."""
        if self._launch is not None:
            self._launch.set(_noted(what), "yes")

    def noted(self, what: str) -> bool:
        """Whether these, or those that a launcher had started before them, have left the mark."""
        return self._launch is not None and self._launch.check([_noted(what)])

    def spent(self) -> Spent:
        """In the calls since this was asked last; the process that comes last does not wait."""
        own = torch.tensor([self.traffic.seconds], dtype=torch.float64)
        shortest = self.gather(own).min(0).values.sum()
        self.traffic.seconds.clear()
        return Spent(float(shortest), float(own.sum() - shortest))

    def tell(self, text: str) -> list[str]:
        """What every process says, in the order of their ranks."""
        said = torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")
        sizes = self._numbers([len(said)]).flatten().tolist()
        everyone = bytes(self.gather(said.view(-1, 1)).flatten().tolist())
        ends = [sum(sizes[: index + 1]) for index in range(self.size)]
        return [everyone[end - size : end].decode() for end, size in zip(ends, sizes, strict=True)]

    def _numbers(self, numbers: Sequence[int]) -> Tensor:
        """Some whole numbers of each process: shape (size, count)."""
        return self._all_gather(torch.tensor([*map(int, numbers)], device="cpu"))

    def _all_gather(self, own: Tensor) -> Tensor:
        into, start = own.new_empty(self.size, *own.shape), time.perf_counter()
        try:
            dist.all_gather([*into], own.contiguous())
        except RuntimeError:  # what the backends raise where a connection breaks
            raise MachineError(self._who_was_lost()) from None
        self.traffic.seconds.append(time.perf_counter() - start)
        self.traffic.calls += 1
        self.traffic.sent += own.numel() * own.element_size()
        return into

    def _who_was_lost(self) -> str:
        lost = ["a process"] if self._store is None else []
        if self._store is not None:
            self._store.set(_here(self.rank), "yes")
            time.sleep(_TO_ANSWER_S)
            lost = [n for rank, n in enumerate(self._names) if not self._store.check([_here(rank)])]
        return (
            f"{' and '.join(lost) or 'the connection between processes'} was lost: all others end; "
            "checkpoints written before are whole"
        )


def _header(values: Tensor) -> list[int]:
    """Shape, dtype and kind of device as some whole numbers, always as many."""
    free = _MOST_AXES - values.dim()
    return [*values.shape, *[_NO_AXIS] * free, _DTYPES.index(values.dtype), values.is_cuda]


def _zeros_by(header: Sequence[int]) -> Tensor:
    *sizes, dtype, on_gpu = header
    shape = [size for size in sizes if size != _NO_AXIS]
    return torch.zeros(shape, dtype=_DTYPES[dtype], device="cuda" if on_gpu else "cpu")


def _here(rank: int) -> str:
    """What a process writes when it misses another one."""
    return f"here/{rank}"


def _noted(what: str) -> str:
    return f"metarl/noted/{what}"


@cache
def this_world() -> Alone | Processes:
    """The world that this process belongs to: that of `torchrun`, of Ray Train, or its own."""
    if dist.is_initialized():
        return Processes(None, None)
    if os.environ.get("WORLD_SIZE", "1") == "1" and not dist.is_torchelastic_launched():
        return Alone()
    try:
        return _connected()
    except (RuntimeError, ValueError) as error:
        raise MachineError(f"the processes cannot be connected: {one_line(error)}") from None


def _connected() -> Processes:
    shared, rank, size = next(dist.rendezvous("env://"))
    # a launcher keeps its store when it starts again: addresses in it are then of lost processes
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"metarl/attempt_{attempt}", shared)
    backend = "gloo"
    if torch.cuda.is_available():
        backend = BOTH_BACKENDS
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    atexit.register(_leave)  # else its threads may outlive the interpreter, and abort it (seen)
    return Processes(store, shared)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
