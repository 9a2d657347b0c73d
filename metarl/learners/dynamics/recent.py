"""What a robot has seen last, as data.

Shapes: M tasks, E episodes, K transitions, H steps ahead, O observation, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.interaction.rollouts import Rollouts


@dataclass(frozen=True)
class Recent:
    """What was seen last of every robot.

    Attributes:
        obs_MEKO: observations of the last K transitions, the newest last.
        actions_MEKA: actions.
        next_obs_MEKO: observations after them.
        valid_MEK: 1 for a transition, 0 where there has been none yet.
        now_MEO: the observation of the step under way, zero before the first.
        plan_MEHA: what was planned for it, in units of half the range of actions.
    """

    obs_MEKO: Tensor
    actions_MEKA: Tensor
    next_obs_MEKO: Tensor
    valid_MEK: Tensor
    now_MEO: Tensor
    plan_MEHA: Tensor

    def spread(self, episodes: int) -> "Recent":
        """For another number of episodes: episode e goes on from e modulo E."""
        have = self.now_MEO.shape[1]
        if have == episodes:
            return self
        index = torch.arange(episodes, device=self.now_MEO.device) % have
        return Recent(*(getattr(self, name)[:, index] for name in self.__dataclass_fields__))

    def rows(self) -> list[Tensor]:
        """All fields, a row for each robot: shapes (M E, ...)."""
        return [getattr(self, name).flatten(0, 1) for name in self.__dataclass_fields__]

    def stepped(self, obs_MEO: Tensor, actions_MEA: Tensor, first_ME: Tensor) -> "Recent":
        """With the transition that led to these observations, by these actions.

        The plan goes on by one step. Where an episode begins there was none, and the plan is void.
        """
        goes_on_ME = ~first_ME

        def moved(values: Tensor, new: Tensor) -> Tensor:
            shifted = torch.cat([values[:, :, 1:], new.unsqueeze(2)], dim=2)
            where = goes_on_ME.reshape(*goes_on_ME.shape, *[1] * (values.dim() - 2))
            return torch.where(where, shifted, values)

        plan_MEHA = moved(self.plan_MEHA, torch.zeros_like(self.plan_MEHA[:, :, 0]))
        return Recent(
            moved(self.obs_MEKO, self.now_MEO),
            moved(self.actions_MEKA, actions_MEA),
            moved(self.next_obs_MEKO, obs_MEO),
            moved(self.valid_MEK, torch.ones_like(self.valid_MEK[:, :, 0])),
            obs_MEO,
            torch.where(goes_on_ME[..., None, None], plan_MEHA, 0.0),
        )

    def after(self, rollouts: Rollouts) -> "Recent":
        """After an episode of each: its last transitions, behind those known before."""
        recent, count_ME = self.spread(rollouts.lengths_ME.shape[1]), rollouts.lengths_ME
        steps = recent.valid_MEK.shape[2]
        index_MEK = count_ME[..., None] + torch.arange(steps, device=count_ME.device)

        def last(known: Tensor, new: Tensor) -> Tensor:
            joined = torch.cat([known, new.to(known)], dim=2)
            at = index_MEK.reshape(*index_MEK.shape, *[1] * (joined.dim() - 3))
            return joined.gather(2, at.expand(*index_MEK.shape, *joined.shape[3:]))

        return Recent(
            last(recent.obs_MEKO, rollouts.obs_MEHO),
            last(recent.actions_MEKA, rollouts.actions_MEHA),
            last(recent.next_obs_MEKO, rollouts.next_obs_MEHO),
            last(recent.valid_MEK, rollouts.valid_MEH),
            torch.zeros_like(recent.now_MEO),
            torch.zeros_like(recent.plan_MEHA),
        )
