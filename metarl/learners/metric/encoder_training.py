"""Training the encoder that places tasks: support and query episodes apart.

Shapes: M tasks, E episodes, B drawn steps, D embedding, X numbers of a transition.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Metrics
from metarl.learners.clipped_ppo import clipped_step
from metarl.learners.metric.embedding import (
    Distance,
    TransitionEncoder,
    mean_of,
    prototypical_loss,
)
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, flatten

ENCODER_NORM = "train/encoder_gradient"  # a metric
_LARGEST_NORM = 10.0


class EncoderTraining:
    """Gradient steps of the encoder.

    Args:
        encoder: what is trained.
        learning_rate: of Adam.
        steps: B, drawn from each episode.
        kind: of distance.
    """

    def __init__(
        self,
        encoder: TransitionEncoder,
        learning_rate: float,
        steps: int,
        kind: Distance,
    ) -> None:
        self._encoder, self._steps, self._kind = encoder, steps, kind
        self._optimizer = torch.optim.Adam(encoder.parameters(), lr=learning_rate)

    def step(self, rollouts: Rollouts, generator: torch.Generator) -> Metrics:
        """One step on the episodes of all tasks, told apart from each other.

        Args:
            rollouts: that explored; nothing is learned where none has a step.
            generator: draws steps, and which episodes make prototypes.
        """
        drawn_MEBX, lived_ME = self._drawn(rollouts, generator)
        if not lived_ME.any():
            return {"train/encoder_loss": 0.0, "train/encoder_accuracy": 0.0, ENCODER_NORM: 0.0}
        if lived_ME.shape[1] == 1:  # its earlier steps are the support, its later ones the query
            drawn_MEBX = torch.cat(drawn_MEBX.chunk(2, dim=2), dim=1)
            lived_ME = lived_ME.expand(-1, 2)
        order = torch.randperm(lived_ME.shape[1], generator=generator, device="cpu")
        order = order.to(lived_ME.device)
        loss, right = self.loss(drawn_MEBX[:, order], lived_ME[:, order])
        parameters = dict(self._encoder.named_parameters())
        gradient = torch.autograd.grad(loss, list(parameters.values()))
        flat = flatten(dict(zip(parameters, gradient, strict=True)))
        norm = clipped_step(self._encoder, self._optimizer, flat, _LARGEST_NORM)
        return {
            "train/encoder_loss": float(loss.detach()),
            "train/encoder_accuracy": float(right),
            ENCODER_NORM: norm,
        }

    def _drawn(self, rollouts: Rollouts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """B steps of each episode: transitions (M, E, B, X), and whether an episode has any."""
        transitions = self._encoder.transitions(rollouts)
        sound_ME = transitions.isfinite().all(-1).all(-1)
        lengths_ME = rollouts.lengths_ME * sound_ME
        steps = self._steps + self._steps % 2
        share = torch.rand(*lengths_ME.shape, steps, generator=generator, device="cpu")
        if share.shape[1] == 1:
            share = 0.5 * (share + (torch.arange(steps) >= steps // 2))
        last = (lengths_ME - 1).clamp(min=0).unsqueeze(-1)
        steps_MEB = (share.to(transitions) * lengths_ME.unsqueeze(-1)).long().minimum(last)
        index = steps_MEB.unsqueeze(-1).expand(*steps_MEB.shape, transitions.shape[-1])
        drawn = transitions.gather(2, index)
        return drawn.masked_fill(~sound_ME[..., None, None], 0.0), lengths_ME > 0

    def loss(self, drawn_MEBX: Tensor, lived_ME: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy; the first half of the episodes is the support."""
        valid_MEB = lived_ME.unsqueeze(-1).expand(drawn_MEBX.shape[:3])
        sums_MED = self._encoder.sums(drawn_MEBX, valid_MEB)
        counts_ME = valid_MEB.sum(-1)
        support = -(-drawn_MEBX.shape[1] // 2)
        own = sums_MED[:, :support].sum(1), counts_ME[:, :support].sum(1)
        queries = mean_of(sums_MED[:, support:], counts_ME[:, support:])
        known_MQ = lived_ME[:, support:] & (own[1] > 0).unsqueeze(-1)
        return prototypical_loss(mean_of(*own), queries, known_MQ, self._kind)

    def state(self) -> Params:
        """Tensors that resuming needs."""
        return optimizer_tensors(self._optimizer)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""
        load_optimizer(self._optimizer, state)
