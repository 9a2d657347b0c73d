"""The policy network of memory-based learners: what remembers, and a head.

Shapes: M tasks, E trials, T steps, N sequences, F inputs.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.policies.actors import ActionStep, Chooser
from metarl.policies.arrays import whole_rows
from metarl.policies.networks.heads import ArrayHead, Head, HyperHead, LinearHead
from metarl.policies.networks.memory_core import ArrayCore, MemoryCore
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.policy import ActionNoiseConfig

_GENERATED = (32, 32)


class MemoryPolicyConfig(ActionNoiseConfig):
    """The policy of a memory, whose kind and size is the learner's."""

    network: Literal["linear", "hypernetwork"] = "linear"
    """What turns the memory into a policy: a linear map, or a generated network on observations."""
    hidden_sizes: tuple[PositiveInt, ...] | None = None
    """Of the generated network, which alone has some; (32, 32) if not given."""

    @model_validator(mode="after")
    def _sizes_of_what_is_generated(self) -> "MemoryPolicyConfig":
        if self.hidden_sizes is not None and self.network != "hypernetwork":
            raise ValueError("hidden_sizes belongs to network=hypernetwork")
        return self

    def head(self, hidden_size: int, spec: Spec) -> Head:
        """What turns a memory of that size into a policy."""
        if self.network == "linear":
            return LinearHead(hidden_size, spec.noise_size)
        between = _GENERATED if self.hidden_sizes is None else self.hidden_sizes
        return HyperHead(hidden_size, (spec.obs_size, *between, spec.noise_size))


class MemoryNetwork(ActionOutputs):
    """A memory with a head for the action distribution; inputs begin with the observation.

    Args:
        core: what remembers.
        head: from what it gives to the outputs.
        noise: initial and smallest standard deviation.
        spec: sizes of observations and actions.
    """

    def __init__(self, core: MemoryCore, head: Head, noise: ActionNoiseConfig, spec: Spec) -> None:
        super().__init__(noise, spec)
        self.core = core
        self.memory, self.head = core.module, head
        self._obs_size = spec.obs_size

    def initialise(self, generator: torch.Generator) -> None:
        """Draw initial parameters."""
        self.core.initialise(generator)
        self.head.initialise(generator)

    def forward(self, inputs_TNF: Tensor, memory: list[Tensor] | None = None) -> Tensor:
        """Outputs (T, N, ...) of T steps, from a memory or from the beginning of a trial."""
        core = self.core
        hidden_TND = core.whole(inputs_TNF) if memory is None else core.run(inputs_TNF, memory)[0]
        outputs: Tensor = self.head(hidden_TND, inputs_TNF[..., : self._obs_size])
        return outputs

    def chooser(self) -> "MemoryChooser":
        """Chooses with the parameters as they are now."""
        core, head = self.core.on_arrays(), self.head.on_arrays()
        return MemoryChooser(core, head, self._obs_size, self.choice())


class MemoryChooser:
    """A memory with a head, step by step.

    Args:
        core: one step of the memory.
        head: (what it gives, observations) -> outputs, both (N, ...).
        obs_size: O, the part of the inputs that is the observation.
        choose: actions for outputs (M, E, ...).
    """

    def __init__(self, core: ArrayCore, head: ArrayHead, obs_size: int, choose: Chooser) -> None:
        self._core, self._head, self._obs_size, self._choose = core, head, obs_size, choose

    def __call__(
        self,
        inputs_MEF: np.ndarray,
        memory: Sequence[np.ndarray],
        noise_MEA: np.ndarray | None,
    ) -> tuple[ActionStep, list[np.ndarray]]:
        """Actions, and the memory after them.

        The memory's parts have a row for each task and episode, see `whole_rows`, and may be
        changed in place.
        """
        shape = inputs_MEF.shape[:2]
        inputs_NF = whole_rows(inputs_MEF.reshape(-1, inputs_MEF.shape[-1]))
        hidden_ND, new = self._core(inputs_NF, list(memory))
        outputs = self._head(hidden_ND, inputs_NF[:, : self._obs_size])[: shape[0] * shape[1]]
        return self._choose(outputs.reshape(*shape, -1), noise_MEA), new
