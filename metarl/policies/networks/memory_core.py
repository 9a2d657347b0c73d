"""What remembers a trial, step by step: a GRU or an LSTM here; `transformer` has another.

Shapes: T steps, N sequences, F inputs, D hidden size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metarl.policies.arrays import to_array, whole_rows
from metarl_envs.memory import require_memory

# (inputs (N, F), parts of the memory) -> what it gives in this step (N, D), and its parts after it.
# The parts it is given are its own to change
ArrayCore = Callable[[np.ndarray, list[np.ndarray]], tuple[np.ndarray, list[np.ndarray]]]


class MemoryCore(ABC):
    """From the inputs of a trial, one after the other, to what a policy makes of them.

    A memory is a list of tensors with leading axis N, its parts, named by `parts`.

    Attributes:
        module: its parameters.
        input_size: F.
        output_size: D.
        parts: names of the parts of a memory.
    """

    module: nn.Module
    input_size: int
    output_size: int
    parts: Sequence[str]

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw initial parameters."""

    @abstractmethod
    def empty(self, count: int) -> list[Tensor]:
        """The memory of `count` sequences before their first step."""

    @abstractmethod
    def run(self, inputs_TNF: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """What it gives at each step, shape (T, N, D), and the memory after the last."""

    def whole(self, inputs_TNF: Tensor) -> Tensor:
        """What it gives at each step of sequences from their beginning: shape (T, N, D)."""
        return self.run(inputs_TNF, self.empty(inputs_TNF.shape[1]))[0]

    @abstractmethod
    def on_arrays(self) -> ArrayCore:
        """One step at a time, for acting; later changes of the parameters are not seen."""


class RecurrentCore(MemoryCore):
    """A GRU or LSTM of one layer.

    Args:
        kind: "gru" or "lstm".
        input_size: F.
        hidden_size: D.
    """

    def __init__(self, kind: str, input_size: int, hidden_size: int) -> None:
        numbers = 3 * (input_size + hidden_size) * hidden_size
        require_memory(f"networks of memory size {hidden_size}", 4 * numbers)
        # torch fills new modules from its global generator before `initialise` does
        with torch.random.fork_rng(devices=[]):
            cell: Any = nn.GRU if kind == "gru" else nn.LSTM
            self.module: nn.GRU | nn.LSTM = cell(input_size, hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.parts = ("hidden",) if kind == "gru" else ("hidden", "cell")

    def initialise(self, generator: torch.Generator) -> None:
        """Uniform weights of the usual scale 1/sqrt(hidden_size), no biases."""
        bound = self.module.hidden_size**-0.5
        with torch.no_grad():
            for name, value in self.module.named_parameters():
                drawn = torch.rand(value.shape, generator=generator) * 2.0 - 1.0
                value.copy_(torch.zeros_like(drawn) if "bias" in name else bound * drawn)

    def empty(self, count: int) -> list[Tensor]:
        like = next(self.module.parameters())
        return [like.new_zeros(count, self.module.hidden_size)] * len(self.parts)

    def run(self, inputs_TNF: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        outputs, state = self.module(inputs_TNF, self._state(memory))
        return outputs, self._parts(state)

    def _state(self, memory: Sequence[Tensor]) -> Any:
        state = tuple(part[None].contiguous() for part in memory)
        return state if len(state) > 1 else state[0]

    def _parts(self, state: Any) -> list[Tensor]:
        return [part[0] for part in (state if isinstance(state, tuple) else (state,))]

    def on_arrays(self) -> ArrayCore:
        return _LSTMStep(self.module) if len(self.parts) > 1 else _GRUStep(self.module)


def memory_after(
    core: ArrayCore, inputs_NTF: np.ndarray, memory: Sequence[np.ndarray], lengths_N: np.ndarray
) -> list[np.ndarray]:
    """The memory after the first `lengths_N` steps of each sequence, to the bit as acting has it.

    Args:
        core: one step.
        inputs_NTF: of the steps; what they are after a sequence's end does not matter.
        memory: parts (N, ...) before them.
        lengths_N: steps of each sequence.
    """
    after = [part.copy() for part in memory]
    now, count = [whole_rows(part.copy()) for part in memory], len(lengths_N)
    for t in range(int(lengths_N.max(initial=0))):
        _, now = core(whole_rows(inputs_NTF[:, t]), now)
        ended = lengths_N == t + 1
        for kept, part in zip(after, now, strict=True):
            kept[ended] = part[:count][ended]
    return after


class _Gates:
    """The weights of a cell, one matrix per gate over inputs and hidden state side by side."""

    def __init__(self, cell: nn.GRU | nn.LSTM, count: int) -> None:
        parts = [
            [to_array(part).T.copy() for part in values.chunk(count)]
            for values in cell.all_weights[0]
        ]
        of_inputs, of_hidden, bias_inputs, bias_hidden = parts
        joined = [np.concatenate(pair) for pair in zip(of_inputs, of_hidden, strict=True)]
        biases = [a + b for a, b in zip(bias_inputs, bias_hidden, strict=True)]
        self.joined = list(zip(joined, biases, strict=True))
        self.last = tuple(part[-1] for part in parts)


class _GRUStep:
    def __init__(self, cell: nn.GRU | nn.LSTM) -> None:
        gates = _Gates(cell, 3)
        # the candidate sees the hidden state through the reset gate
        self._gates, self._candidate = gates.joined[:2], gates.last

    def __call__(
        self, inputs: np.ndarray, memory: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        (hidden,) = memory
        joined = np.concatenate([inputs, hidden], axis=1)
        reset, update = (_sigmoid(joined, *gate) for gate in self._gates)
        of_inputs, of_hidden, bias_inputs, bias_hidden = self._candidate
        candidate = hidden @ of_hidden
        candidate += bias_hidden
        candidate *= reset
        candidate += inputs @ of_inputs
        candidate += bias_inputs
        np.tanh(candidate, out=candidate)
        update *= hidden - candidate
        update += candidate
        return update, [update]


class _LSTMStep:
    def __init__(self, cell: nn.GRU | nn.LSTM) -> None:
        self._gates = _Gates(cell, 4).joined

    def __call__(
        self, inputs: np.ndarray, memory: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        hidden, cell = memory
        joined = np.concatenate([inputs, hidden], axis=1)
        enter, forget, leave = (_sigmoid(joined, *self._gates[gate]) for gate in (0, 1, 3))
        weight, bias = self._gates[2]
        new = joined @ weight
        new += bias
        enter *= np.tanh(new, out=new)
        forget *= cell
        forget += enter
        leave *= np.tanh(forget)
        return leave, [leave, forget]


def _sigmoid(joined: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Sigmoid of a linear map, as (1 + tanh(x / 2)) / 2: NumPy's tanh is fast."""
    gate: np.ndarray = joined @ weight
    gate += bias
    gate *= 0.5
    np.tanh(gate, out=gate)
    gate += 1.0
    gate *= 0.5
    return gate
