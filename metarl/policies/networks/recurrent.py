"""The recurrent policy network of memory-based learners.

Shapes: T steps, N sequences, F inputs.
"""

from typing import Any, Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.policies.actors import RecurrentChooser
from metarl.policies.networks.heads import Head, HyperHead, LinearHead
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.policy import ActionNoiseConfig
from metarl_envs.memory import require_memory

_GENERATED = (32, 32)


class RecurrentPolicyConfig(ActionNoiseConfig):
    """The recurrent policy; the size of its memory is the learner's."""

    network: Literal["linear", "hypernetwork"] = "linear"
    """What turns the memory into a policy: a linear map, or a generated network on observations."""
    hidden_sizes: tuple[PositiveInt, ...] | None = None
    """Of the generated network, which alone has some; (32, 32) if not given."""

    @model_validator(mode="after")
    def _sizes_of_what_is_generated(self) -> "RecurrentPolicyConfig":
        if self.hidden_sizes is not None and self.network != "hypernetwork":
            raise ValueError("hidden_sizes belongs to network=hypernetwork")
        return self

    def head(self, hidden_size: int, spec: Spec) -> Head:
        """What turns a memory of that size into a policy."""
        if self.network == "linear":
            return LinearHead(hidden_size, spec.noise_size)
        between = _GENERATED if self.hidden_sizes is None else self.hidden_sizes
        return HyperHead(hidden_size, (spec.obs_size, *between, spec.noise_size))


class RecurrentNetwork(ActionOutputs):
    """A GRU or LSTM with a head for the action distribution; inputs begin with the observation.

    Args:
        kind: "gru" or "lstm".
        hidden_size: of the memory.
        head: from the memory to the outputs.
        noise: initial and smallest standard deviation.
        spec: sizes of observations and actions.
    """

    def __init__(
        self, kind: str, hidden_size: int, head: Head, noise: ActionNoiseConfig, spec: Spec
    ) -> None:
        super().__init__(noise, spec)
        inputs = spec.obs_size + (spec.num_actions or spec.action_size) + 2
        numbers = 3 * (inputs + hidden_size) * hidden_size
        require_memory(f"networks of memory size {hidden_size}", 4 * numbers)
        # torch fills new modules from its global generator before `initialise` does
        with torch.random.fork_rng(devices=[]):
            cell: Any = nn.GRU if kind == "gru" else nn.LSTM
            self.memory = cell(inputs, hidden_size)
        self.head = head
        self._obs_size = spec.obs_size

    def initialise(self, generator: torch.Generator) -> None:
        """Uniform weights of the usual scale 1/sqrt(hidden_size), a small head."""
        bound = self.memory.hidden_size**-0.5
        with torch.no_grad():
            for name, value in self.memory.named_parameters():
                drawn = torch.rand(value.shape, generator=generator) * 2.0 - 1.0
                value.copy_(torch.zeros_like(drawn) if "bias" in name else bound * drawn)
        self.head.initialise(generator)

    def forward(self, inputs_TNF: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Outputs (T, N, ...) of T steps, and the memory after them: parts (1, N, hidden)."""
        state = tuple(memory) if len(memory) > 1 else memory[0]
        outputs, state = self.memory(inputs_TNF, state)
        outputs = self.head(outputs, inputs_TNF[..., : self._obs_size])
        return outputs, list(state) if isinstance(state, tuple) else [state]

    def remember(self, inputs_TNF: Tensor, memory: list[Tensor]) -> Tensor:
        """The hidden state after each step: shape (T, N, hidden)."""
        hidden: Tensor = self.memory(inputs_TNF, tuple(memory) if len(memory) > 1 else memory[0])[0]
        return hidden

    def chooser(self) -> RecurrentChooser:
        """Chooses with the parameters as they are now."""
        head = self.head.on_arrays()
        return RecurrentChooser(self.memory, head, self._obs_size, self.choice())

    def memory_after(
        self, inputs_TNF: Tensor, memory: list[Tensor], lengths_N: Tensor
    ) -> list[Tensor]:
        """The memory after the first `lengths_N` steps of each sequence: parts (1, N, hidden)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            inputs_TNF, lengths_N.clamp(min=1).cpu(), enforce_sorted=False
        )
        state = tuple(memory) if len(memory) > 1 else memory[0]
        _, final = self.memory(packed, state)
        parts = final if isinstance(final, tuple) else (final,)
        empty = (lengths_N == 0).view(1, -1, 1)
        return [torch.where(empty, old, new) for old, new in zip(memory, parts, strict=True)]

    def empty_memory(self, count: int) -> list[Tensor]:
        """The memory of `count` sequences before their first step: parts (1, N, hidden)."""
        like = next(self.memory.parameters())
        zeros = like.new_zeros(1, count, self.memory.hidden_size)
        return [zeros] * (2 if isinstance(self.memory, nn.LSTM) else 1)
