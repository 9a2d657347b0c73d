"""A memory as data.

Shapes: M tasks, E trials per task.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Memory of every trial.

    Attributes:
        parts: hidden state (and an LSTM's cell), shapes (M, E, hidden_size); a transformer's keys
            and values (M, E, layers, heads, window, size) and numbers of steps (M, E, 1); what a
            convolution's layers need of the past (M, E, steps, channels); or a latent that a
            teacher is told (M, E, latent_size).
    """

    parts: dict[str, Tensor]

    def spread(self, episodes: int) -> "Memory":
        """Memories for another number of trials: trial e goes on from trial e modulo E."""
        first = next(iter(self.parts.values()))
        have = first.shape[1]
        if have == episodes:
            return self
        trials = torch.arange(episodes, device=first.device) % have
        return Memory({name: part[:, trials] for name, part in self.parts.items()})
