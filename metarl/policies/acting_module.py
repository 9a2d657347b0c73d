"""Acting as a torch module, for those who run it elsewhere: likeliest actions, no noise.

Shapes: N observations, O observation, A action.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn


class ActingModule(nn.Module):
    """One step of acting.

    Args:
        step: the observation (N, O), and where it has a memory previous actions (N, A), previous
            rewards (N, 1) where it acts on them, 1 in the first step of an episode (N, 1) else 0,
            and the parts of its memory, to its actions (N, A) and the parts after them. Actions are
            not clipped.
        memory: the parts at the start, by name, leading axis N = 1; empty where acting depends on
            the observation alone.
        acts_on_rewards: whether rewards are among what it takes.
    """

    def __init__(
        self,
        step: Callable[..., tuple[Tensor, Sequence[Tensor]]],
        memory: Mapping[str, Tensor] | None = None,
        acts_on_rewards: bool = False,
    ) -> None:
        super().__init__()
        self._step, self.memory = step, dict(memory or {})
        self.acts_on_rewards = acts_on_rewards

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Actions, then the parts of the memory."""
        actions, memory = self._step(*inputs)
        return (actions, *memory)
