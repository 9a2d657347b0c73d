"""Where tasks lie: embeddings of transitions, and distances between sets of them.

The distance of two sets of transitions is the squared maximum mean discrepancy of their embeddings
under a linear kernel (Gretton et al. 2012, JMLR 13),

    d(T, T') = mean |f(x) - f(x')|^2 - 1/2 mean |f(x) - f(y)|^2 - 1/2 mean |f(x') - f(y')|^2,

over pairs x, y of T and x', y' of T', which is the squared distance of the mean embeddings, and 0
between a set and itself. Episodes are told apart by it as in prototypical networks (Snell et al.
2017, arXiv 1703.05175, eqs. 1 and 2). Shapes: M tasks, E episodes, H steps, X numbers of a
transition, D embedding, Q queries, K prototypes.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.interaction.rollouts import Rollouts
from metarl.policies.networks.relu_mlp import relu_mlp

Distance = Literal["euclidean", "cosine"]
_LAST_BOUND, _LEAST_DEVIATION, _CLIP = 0.1, 1e-6, 10.0


class TransitionEncoder(nn.Module):
    """f: from (observation, action, reward, gain, next observation), standardised, to an embedding.

    The gain is what the reward is more than in the step before, 0 in the first. Where a reward
    falls with the distance to a goal it tells movements towards it from others; the reward alone
    tells how far it is.

    Args:
        spec: sizes.
        hidden_sizes: of the network.
        embedding_size: D.
        generator: of the initial weights.
    """

    shift_X: Tensor
    scale_X: Tensor

    def __init__(
        self,
        spec: Spec,
        hidden_sizes: tuple[int, ...],
        embedding_size: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._num_actions = spec.num_actions
        size = 2 * spec.obs_size + (spec.num_actions or spec.action_size) + 2
        self.register_buffer("shift_X", torch.zeros(size))
        self.register_buffer("scale_X", torch.ones(size))
        self.network = relu_mlp((size, *hidden_sizes, embedding_size), _LAST_BOUND, generator)

    def transitions(self, rollouts: Rollouts) -> Tensor:
        """What is embedded of each step, zeros where it is not valid: shape (M, E, H, X)."""
        actions = rollouts.actions_MEHA
        if self._num_actions:
            actions = nn.functional.one_hot(actions[..., 0].long(), self._num_actions)
        obs, rewards_MEH = rollouts.obs_MEHO, rollouts.rewards_MEH
        gains_MEH = rewards_MEH.diff(dim=-1, prepend=rewards_MEH[..., :1])
        told = torch.stack([rewards_MEH, gains_MEH], -1)
        joined = torch.cat([obs, actions.to(obs), told, rollouts.next_obs_MEHO], -1)
        return joined.masked_fill(~rollouts.valid_MEH.unsqueeze(-1), 0.0)

    @torch.no_grad()
    def standardise(self, rollouts: Rollouts) -> None:
        """Take mean and deviation of each number from the transitions of all tasks."""
        rows = self.transitions(rollouts)[rollouts.valid_MEH]
        rows = rows[rows.isfinite().all(-1)].double()
        if len(rows) > 1:
            self.shift_X.copy_(rows.mean(0))
            deviation_X = rows.std(0)
            constant_X = deviation_X < _LEAST_DEVIATION  # so far
            self.scale_X.copy_(torch.where(constant_X, 1.0, deviation_X))

    def sums(self, transitions_MEHX: Tensor, valid_MEH: Tensor) -> Tensor:
        """Sum of the embeddings of each episode's valid steps: shape (M, E, D)."""
        standard = (transitions_MEHX - self.shift_X) / self.scale_X
        embedded: Tensor = self.network(standard.clamp(-_CLIP, _CLIP))
        return (embedded * valid_MEH.unsqueeze(-1)).sum(2)


def mean_of(sums: Tensor, counts: Tensor) -> Tensor:
    """The mean from a sum (..., D) and a count (...); zero where there is nothing."""
    return sums / counts.clamp(min=1).unsqueeze(-1)


def distances(first: Tensor, second: Tensor, kind: Distance = "euclidean") -> Tensor:
    """Of all pairs of mean embeddings: shapes (Q, D), (K, D) -> (Q, K).

    Args:
        first: mean embeddings.
        second: likewise.
        kind: "euclidean", the squared maximum mean discrepancy; or "cosine", one less the cosine.
    """
    if kind == "cosine":
        units = (nn.functional.normalize(part, dim=-1) for part in (first, second))
        return 1.0 - next(units) @ next(units).T
    return (first.unsqueeze(1) - second.unsqueeze(0)).square().sum(-1)


def prototypical_loss(
    prototypes_MD: Tensor, queries_MQD: Tensor, known_MQ: Tensor, kind: Distance
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of queries told apart by their distances, and the share that is right.

    Args:
        prototypes_MD: mean embedding of each task's support episodes.
        queries_MQD: mean embedding of each query episode.
        known_MQ: whether a query has any step.
        kind: of distance.
    """
    tasks, queries = queries_MQD.shape[:2]
    logits = -distances(queries_MQD.flatten(0, 1), prototypes_MD, kind)
    labels = torch.arange(tasks, device=logits.device).repeat_interleave(queries)
    known = known_MQ.flatten().to(logits)
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    right = (logits.argmax(-1) == labels).to(logits)
    total = known.sum().clamp(min=1)
    return (losses * known).sum() / total, (right * known).sum() / total
