"""All processes that train together: what each of them does, and what they bring together.

The one file that knows `torch.distributed`. Every process runs the same program on its share of
the tasks. What they bring together is put in the order of the tasks and added in that order, in
float64, so that results do not depend on how many processes there are.
"""

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
from metarl.interaction.threads import arithmetic_threads, num_cpus, on_all_cores
from metarl.params import sum_of_rows
from metarl_envs.engine.simulations import physics_threads

_PATIENCE = timedelta(minutes=30)  # for the slowest process
_TO_ANSWER_S = 2.0  # after the loss of a process
_MOST_AXES, _NO_AXIS = 6, -1
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

    def map(self, function: Callable[[T], Tensor], items: Sequence[T]) -> Tensor:
        """The function of every item, one row each."""
        return torch.stack(on_all_cores(function, items))

    @contextmanager
    def first_alone(self, what: str) -> Iterator[bool]:
        """True: there is nobody else."""
        yield True

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
    """

    def __init__(self, store: dist.Store | None) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.traffic = Traffic()
        self._store = store
        self._device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        self._names = [f"process {rank}" for rank in range(self.size)]
        self._names = self.tell(f"process {self.rank} (pid {os.getpid()}, {socket.gethostname()})")

    def share(self, count: int) -> slice:
        """Neighbours, as many in each process as possible."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gather(self, values_MP: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks; other axes are the same."""
        return self._joined(values_MP).to(values_MP)

    def _joined(self, values_MP: Tensor | None) -> Tensor:
        """The rows of all processes; None from one that has no rows."""
        plain = torch.empty(0) if values_MP is None else values_MP
        plain = plain.to(self._device, torch.uint8 if plain.dtype == torch.bool else plain.dtype)
        headers = self._numbers(_header(plain)).tolist()
        rows = [header[0] for header in headers]
        shape, dtype = _shape_and_dtype(headers[rows.index(max(rows))])
        padded = torch.zeros(shape, dtype=dtype, device=self._device)
        if len(plain):
            padded[: len(plain)] = plain
        everyone = padded.new_empty(self.size * shape[0], *shape[1:])
        self._all_gather(everyone, padded)
        parts = everyone.split(shape[0]) if shape[0] else [everyone] * self.size
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    def sum_over_tasks(self, values_MP: Tensor) -> Tensor:
        """Row after row of all processes, in float64: shape (P,)."""
        return sum_of_rows(self.gather(values_MP))

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each process's first, second, ... number."""
        return self._numbers(numbers).max(0).values.tolist()

    def all(self, flag: bool) -> bool:
        """Whether the flag is set in every process."""
        return bool(self._numbers([flag]).all())

    def map(self, function: Callable[[T], Tensor], items: Sequence[T]) -> Tensor:
        """The function of every item, one row each; every process takes its share of them."""
        own = items[self.share(len(items))]
        return self._joined(torch.stack(on_all_cores(function, own)) if own else None)

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

    def spent(self) -> Spent:
        """In the calls since this was asked last; the process that comes last does not wait."""
        own = torch.tensor([self.traffic.seconds], dtype=torch.float64)
        shortest = self.gather(own).min(0).values.sum()
        self.traffic.seconds.clear()
        return Spent(float(shortest), float(own.sum() - shortest))

    def tell(self, text: str) -> list[str]:
        """What every process says, in the order of their ranks."""
        said = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self._device)
        sizes = self._numbers([len(said)]).flatten().tolist()
        everyone = bytes(self.gather(said.view(-1, 1)).flatten().tolist())
        ends = [sum(sizes[: index + 1]) for index in range(self.size)]
        return [everyone[end - size : end].decode() for end, size in zip(ends, sizes, strict=True)]

    def _numbers(self, numbers: Sequence[int]) -> Tensor:
        """Some whole numbers of each process: shape (size, count)."""
        own = torch.tensor([[int(number) for number in numbers]], device=self._device)
        found = own.new_empty(self.size, own.shape[1])
        self._all_gather(found, own)
        return found

    def _all_gather(self, into: Tensor, own: Tensor) -> None:
        start = time.perf_counter()
        try:
            dist.all_gather(list(into.chunk(self.size)), own.contiguous())
        except RuntimeError:  # what the backends raise where a connection breaks
            raise MachineError(self._who_was_lost()) from None
        self.traffic.seconds.append(time.perf_counter() - start)
        self.traffic.calls += 1
        self.traffic.sent += own.numel() * own.element_size()

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
    """Shape and dtype as some whole numbers, always as many."""
    free = _MOST_AXES - values.dim()
    return [*values.shape, *[_NO_AXIS] * free, _DTYPES.index(values.dtype)]


def _shape_and_dtype(header: Sequence[int]) -> tuple[list[int], torch.dtype]:
    return [size for size in header[:-1] if size != _NO_AXIS], _DTYPES[header[-1]]


def _here(rank: int) -> str:
    """What a process writes when it misses another one."""
    return f"here/{rank}"


@cache
def this_world() -> Alone | Processes:
    """The world that this process belongs to: that of `torchrun`, of Ray Train, or its own."""
    if dist.is_initialized():
        return Processes(None)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Alone()
    shared, rank, size = next(dist.rendezvous("env://"))
    # a launcher keeps its store when it starts again: addresses in it are then of lost processes
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"metarl/attempt_{attempt}", shared)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    return Processes(store)


def local_cpus() -> int:
    """CPUs for this process: an equal part of those of its machine."""
    return max(1, num_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def shared_cpus(threads: int | None = None) -> Iterator[None]:
    """Threads of physics and arithmetic for this process: so many, or its part of the machine."""
    world = this_world()
    own = threads or (local_cpus() if world.size > 1 else 0)
    with physics_threads(own), arithmetic_threads(own or num_cpus()):
        yield


def restarted() -> bool:
    """Whether a launcher has started this process again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
