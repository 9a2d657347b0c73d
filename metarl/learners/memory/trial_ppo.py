"""PPO on whole trials of a recurrent policy, with backpropagation through time.

Schulman et al. 2017, arXiv 1707.06347, eq. 7, on sequences (Duan et al. 2016, arXiv 1611.02779).
Backpropagation through time is cut into pieces, which are trained side by side: few long products
in place of many short ones.
Shapes: T steps of a trial, N trials.
"""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metarl.estimators.objectives import clipped_gains
from metarl.interaction.threads import on_all_cores
from metarl.learners.base import LearnerConfig, Metrics, World
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, flatten, unflatten
from metarl.policies.networks.recurrent import RecurrentNetwork

# Parts of a minibatch that are differentiated at once: the steps of a recurrent network are too
# small for more than one thread. Fixed, so that results do not depend on the number of threads
_SLICES = 2


class TrialPPOConfig(LearnerConfig):
    """Base of the configs of memory-based learners that PPO trains."""

    bptt_steps: PositiveInt = 100
    """Steps of backpropagation through time; must divide the trial's length.

    Trials are cut into pieces of that length, trained side by side, each from the memory that the
    sampling policy had at its start.
    """
    epochs: PositiveInt = 5
    minibatches: PositiveInt = 4
    clip: float = Field(0.2, gt=0.0, lt=1.0)
    learning_rate: PositiveFloat = 1e-3
    max_gradient_norm: PositiveFloat = 1.0
    entropy_bonus: NonNegativeFloat = 0.0


class TrialPPO:
    """Improves a recurrent policy on trials that it has sampled.

    Args:
        network: what is trained.
        config: see there.
    """

    def __init__(self, network: RecurrentNetwork, config: TrialPPOConfig) -> None:
        self.network, self.config = network, config
        self._optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def update(
        self, data_TN: dict[str, Tensor], generator: torch.Generator, world: World
    ) -> Metrics:
        """Several epochs of Adam steps on minibatches of pieces of trials.

        Args:
            data_TN: "inputs" of the network and "actions", and with a last axis of length one
                "log_probs", "advantages" and "valid" (0 or 1): shapes (T, N, ...).
            generator: orders the minibatches.
            world: whose gradients are summed, half a minibatch at a time. Each process shuffles its
                own trials, so that minibatches are others if tasks are shared out otherwise.
        """
        norms, kls = [], []
        data = self.pieces(data_TN)
        count = data["inputs"].shape[1]
        for _ in range(self.config.epochs):
            order = torch.randperm(count, generator=generator, device="cpu")
            for rows in order.tensor_split(min(self.config.minibatches, count)):
                norm, kl = self.minibatch(data, rows.to(data_TN["inputs"].device), world)
                norms.append(norm)
                kls.append(kl)
        finite = np.isfinite(norms)
        return {
            "train/gradient_norm": float(np.mean(np.asarray(norms)[finite])) if finite.any() else 0,
            "train/skipped_updates": float((~finite).sum()),
            "train/kl": kls[-1],
            "train/rejected_because": "" if finite.any() else "non-finite gradient",
        }

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
            min(_SLICES, count)
        )
        memory = torch.cat(on_all_cores(memories, halves), dim=2).flatten(1, 2)
        return {"memory": memory} | {name: cut(values) for name, values in data_TN.items()}

    def minibatch(self, data: dict[str, Tensor], rows: Tensor, world: World) -> tuple[float, float]:
        """One Adam step; returns the gradient's norm and the mean KL to the sampling policy."""
        own = data["valid"].index_select(1, rows).sum().view(1, 1)
        total = float(world.sum_over_tasks(own).clamp(min=1.0))

        def differentiate(part: Tensor) -> Tensor:
            return self.gradient({n: v.index_select(1, part) for n, v in data.items()}, total)

        shares = on_all_cores(differentiate, rows.tensor_split(min(_SLICES, len(rows))))
        summed = world.sum_over_tasks(torch.stack(shares))
        parameters = dict(self.network.named_parameters())
        for name, gradient in unflatten(summed[:-1], parameters).items():
            parameters[name].grad = gradient
        limit = self.config.max_gradient_norm
        norm = float(nn.utils.clip_grad_norm_(list(parameters.values()), limit))
        if np.isfinite(norm):
            self._optimizer.step()
        return norm, float(summed[-1])

    def gradient(self, data: dict[str, Tensor], total: float) -> Tensor:
        """Gradient of the loss of some pieces, and behind it their share of the KL, in float64.

        `total` is the number of steps of all pieces of the minibatch.
        """
        outputs, _ = self.network(data["inputs"], list(data["memory"].split(1)))
        distribution = self.network.distribution(outputs)
        valid, advantages = data["valid"].squeeze(-1), data["advantages"].squeeze(-1)
        log_ratios = distribution.log_prob(data["actions"]) - data["log_probs"].squeeze(-1)
        log_ratios = log_ratios.masked_fill(valid == 0, 0.0)
        ratios = log_ratios.exp()
        gain = clipped_gains(ratios, advantages, self.config.clip)
        gain = gain + self.config.entropy_bonus * distribution.entropy()
        loss = -(gain * valid).sum() / total
        parameters = dict(self.network.named_parameters())
        gradient = torch.autograd.grad(loss, list(parameters.values()))
        kl = ((ratios - 1.0 - log_ratios) * valid).sum().detach() / total
        flat = flatten(dict(zip(parameters, gradient, strict=True)))
        return torch.cat([flat, kl.double().view(1)])

    def state(self) -> Params:
        """Tensors that resuming needs."""
        return optimizer_tensors(self._optimizer)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""
        load_optimizer(self._optimizer, state)
