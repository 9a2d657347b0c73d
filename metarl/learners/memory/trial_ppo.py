"""PPO on whole trials of a policy with a memory, with backpropagation through time.

On sequences as in Duan et al. 2016, arXiv 1611.02779. Backpropagation through time is cut into
pieces, which are trained side by side: few long products in place of many short ones.
Shapes: T steps of a trial, N trials.
"""

from collections.abc import Mapping

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from metarl.interaction.threads import on_all_cores
from metarl.learners.base import Metrics, World
from metarl.learners.clipped_ppo import SLICES, ClippedPPO, ClippedPPOConfig
from metarl.policies.distributions import Distribution
from metarl.policies.networks.memory_network import MemoryNetwork


class TrialPPOConfig(ClippedPPOConfig):
    """Base of the configs of memory-based learners that PPO trains through time."""

    bptt_steps: PositiveInt | None = None
    """Steps of backpropagation through a GRU or LSTM; 100 if not given.

    Must divide the trial's length: trials are cut into pieces of that length, trained side by side,
    each from the memory that the sampling policy had at its start. A transformer's are whole.
    """


class TrialPPO(ClippedPPO):
    """Improves a policy with a memory on trials that it has sampled.

    Args:
        network: what is trained.
        config: see there.
        bptt_steps: length of the pieces; None for whole trials.
    """

    def __init__(
        self, network: MemoryNetwork, config: TrialPPOConfig, bptt_steps: int | None
    ) -> None:
        super().__init__(network, config)
        self.network, self.bptt_steps = network, bptt_steps

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        memory = list(data["memory"]) if "memory" in data else None
        return self.network.distribution(self.network(data["inputs"], memory))

    def update(
        self, data_TN: dict[str, Tensor], generator: torch.Generator, world: World
    ) -> Metrics:
        """`improve` on pieces of trials: "inputs" and the rest, shapes (T, N, ...)."""
        return self.improve(self.pieces(data_TN), generator, world)

    def pieces(self, data_TN: dict[str, Tensor]) -> dict[str, Tensor]:
        """Trials cut into pieces of `bptt_steps`, side by side, each with its first memory.

        Shapes (steps of a piece, pieces of all trials, ...), and (parts, pieces, hidden) for
        "memory": what the sampling policy had there. Whole trials start without.
        """
        length, count = data_TN["inputs"].shape[:2]
        steps = min(self.bptt_steps or length, length)
        pieces = -(-length // steps)
        if pieces == 1:
            return data_TN
        missing = pieces * steps - length  # only where episodes end early
        core = self.network.core

        def cut(values: Tensor) -> Tensor:
            padded = nn.functional.pad(values, (0, 0, 0, 0, 0, missing))
            return padded.view(pieces, steps, count, -1).transpose(0, 1).flatten(1, 2)

        def memories(rows: Tensor) -> Tensor:
            memory = core.empty(len(rows))
            starts = [torch.stack(memory)]
            with torch.no_grad():
                for first in range(0, (pieces - 1) * steps, steps):
                    memory = core.run(data_TN["inputs"][first : first + steps, rows], memory)[1]
                    starts.append(torch.stack(memory))
            return torch.stack(starts, dim=1)

        halves = torch.arange(count, device=data_TN["inputs"].device).tensor_split(
            min(SLICES, count)
        )
        memory = torch.cat(on_all_cores(memories, halves), dim=2).flatten(1, 2)
        return {"memory": memory} | {name: cut(values) for name, values in data_TN.items()}
