"""PPO on whole trials of a recurrent policy, with backpropagation through time.

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
from metarl.policies.networks.recurrent import RecurrentNetwork


class TrialPPOConfig(ClippedPPOConfig):
    """Base of the configs of memory-based learners that PPO trains through time."""

    bptt_steps: PositiveInt = 100
    """Steps of backpropagation through time; must divide the trial's length.

    Trials are cut into pieces of that length, trained side by side, each from the memory that the
    sampling policy had at its start.
    """


class TrialPPO(ClippedPPO):
    """Improves a recurrent policy on trials that it has sampled.

    Args:
        network: what is trained.
        config: see there.
    """

    config: TrialPPOConfig

    def __init__(self, network: RecurrentNetwork, config: TrialPPOConfig) -> None:
        super().__init__(network, config)
        self.network = network

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        outputs, _ = self.network(data["inputs"], list(data["memory"].split(1)))
        return self.network.distribution(outputs)

    def update(
        self, data_TN: dict[str, Tensor], generator: torch.Generator, world: World
    ) -> Metrics:
        """`improve` on pieces of trials: "inputs" and the rest, shapes (T, N, ...)."""
        return self.improve(self.pieces(data_TN), generator, world)

    def pieces(self, data_TN: dict[str, Tensor]) -> dict[str, Tensor]:
        """Trials cut into pieces of `bptt_steps`, side by side, each with its first memory.

        Shapes (steps of a piece, pieces of all trials, ...), and (parts, pieces, hidden) for
        "memory": what the sampling policy had there.
        """
        length, count = data_TN["inputs"].shape[:2]
        steps = min(self.config.bptt_steps, length)
        pieces = -(-length // steps)
        missing = pieces * steps - length  # only where episodes end early

        def cut(values: Tensor) -> Tensor:
            padded = nn.functional.pad(values, (0, 0, 0, 0, 0, missing))
            return padded.view(pieces, steps, count, -1).transpose(0, 1).flatten(1, 2)

        def memories(rows: Tensor) -> Tensor:
            memory = self.network.empty_memory(len(rows))
            starts = [torch.cat(memory)]
            with torch.no_grad():
                for first in range(0, (pieces - 1) * steps, steps):
                    inputs = data_TN["inputs"][first : first + steps, rows]
                    memory = self.network(inputs, memory)[1]
                    starts.append(torch.cat(memory))
            return torch.stack(starts, dim=1)

        halves = torch.arange(count, device=data_TN["inputs"].device).tensor_split(
            min(SLICES, count)
        )
        memory = torch.cat(on_all_cores(memories, halves), dim=2).flatten(1, 2)
        return {"memory": memory} | {name: cut(values) for name, values in data_TN.items()}
