"""What is known of the training tasks: where each lies, and the context that its policy takes.

Shapes: M tasks, K tasks of the library, D embedding and context.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl.learners.metric.embedding import Distance, distances
from metarl_envs.memory import require_memory

_SMALL = 0.1


class TaskLibrary(nn.Module):
    """K prototypes and contexts.

    Args:
        size: K.
        embedding_size: D.
        kind: of distance.
        temperature: tau.
        generator: of what contexts have of their own.
    """

    prototypes_KD: Tensor
    known_K: Tensor

    def __init__(
        self,
        size: int,
        embedding_size: int,
        kind: Distance,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        require_memory(f"libraries of {size} tasks", 16 * 2 * size * embedding_size)
        drawn = torch.randn(size, embedding_size, generator=generator)
        self.own_KD = nn.Parameter(_SMALL * drawn)
        self.register_buffer("prototypes_KD", torch.zeros(size, embedding_size))
        self.register_buffer("known_K", torch.zeros(size))
        self._kind, self._temperature = kind, temperature

    @torch.no_grad()
    def weights(self, means_MD: Tensor, without: Sequence[int] | None = None) -> Tensor:
        """softmax(-d / tau) over the known tasks: shape (M, K); uniform where there is none.

        Args:
            means_MD: mean embedding of each task's transitions.
            without: the entry that each task has to do without, its own.
        """
        logits_MK = -distances(means_MD, self.prototypes_KD, self._kind) / self._temperature
        logits_MK = logits_MK.masked_fill(self.known_K == 0, -torch.inf)
        if without is not None:
            rows = torch.arange(len(means_MD), device=means_MD.device)
            logits_MK[rows, torch.as_tensor(without, device=means_MD.device)] = -torch.inf
        nobody_M1 = logits_MK.isneginf().all(-1, keepdim=True)
        return logits_MK.masked_fill(nobody_M1, 0.0).softmax(-1)

    def contexts(self, weights_MK: Tensor) -> Tensor:
        """The weighted combinations of contexts: shape (M, D).

        A task's context is its prototype, standardised over the library, and what PPO adds to it:
        tasks that lie near each other begin with contexts that do.
        """
        known_K1 = self.known_K.unsqueeze(-1)
        count = known_K1.sum().clamp(min=1.0)
        centred_KD = (
            self.prototypes_KD - (self.prototypes_KD * known_K1).sum(0) / count
        ) * known_K1
        deviation = (centred_KD.square().sum() / count / centred_KD.shape[1]).sqrt()
        return weights_MK @ (centred_KD / deviation.clamp(min=1e-6) + self.own_KD)

    @torch.no_grad()
    def place(self, means_KD: Tensor, known_K: Tensor) -> None:
        """Note where all tasks lie now; known ones are 1, the others 0."""
        self.prototypes_KD.copy_(means_KD)
        self.known_K.copy_(known_K)
