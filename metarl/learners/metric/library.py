"""What is known of the training tasks: where each lies, and the context that its policy takes.

Shapes: M tasks, K tasks of the library, D embedding, C context.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl.learners.metric.embedding import Distance, distances

_SMALL = 0.1


class TaskLibrary(nn.Module):
    """K prototypes and contexts.

    Args:
        size: K.
        embedding_size: D.
        context_size: C.
        kind: of distance.
        temperature: tau.
        generator: of the initial contexts.
    """

    prototypes_KD: Tensor
    known_K: Tensor

    def __init__(
        self,
        size: int,
        embedding_size: int,
        context_size: int,
        kind: Distance,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        drawn = torch.randn(size, context_size, generator=generator)
        self.contexts_KC = nn.Parameter(_SMALL * drawn)
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

    def prior(self, count: int) -> Tensor:
        """Weights before any experience: those of all known tasks alike, shape (M, K)."""
        known_K = self.known_K if bool(self.known_K.any()) else torch.ones_like(self.known_K)
        return (known_K / known_K.sum()).expand(count, -1)

    def contexts(self, weights_MK: Tensor) -> Tensor:
        """The weighted combinations of contexts: shape (M, C)."""
        return weights_MK @ self.contexts_KC

    @torch.no_grad()
    def place(self, keys: Sequence[int], means_MD: Tensor, lived_M: Tensor) -> None:
        """Note where tasks lie now, but for those without any transition."""
        for row, key in enumerate(keys):
            if lived_M[row]:
                self.prototypes_KD[key] = means_MD[row]
                self.known_K[key] = 1.0
