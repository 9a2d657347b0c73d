"""A tabular decision process whose expectations can be enumerated exactly."""

import itertools

import torch
from torch import Tensor

STATES, ACTIONS, HORIZON, DISCOUNT = 2, 2, 3, 0.9


class TabularMDP:
    """Two states, two actions, three steps: 64 trajectories with known probabilities."""

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        transition = torch.rand(STATES, ACTIONS, STATES, generator=g)
        transition = transition / transition.sum(-1, keepdim=True)
        reward = torch.randn(STATES, ACTIONS, generator=g)
        start = torch.tensor([0.6, 0.4])
        states, actions = (
            torch.tensor(list(itertools.product(range(n), repeat=HORIZON)))
            for n in (STATES, ACTIONS)
        )
        pairs = list(itertools.product(range(len(states)), range(len(actions))))
        self.states_EH = torch.stack([states[i] for i, _ in pairs])
        self.actions_EH = torch.stack([actions[j] for _, j in pairs])
        s, a = self.states_EH, self.actions_EH
        self.dynamics_E = start[s[:, 0]]
        for t in range(HORIZON - 1):
            self.dynamics_E = self.dynamics_E * transition[s[:, t], a[:, t], s[:, t + 1]]
        rewards = reward[s, a] * DISCOUNT ** torch.arange(HORIZON)
        self.rewards_EH = rewards  # discounted from time 0
        self.returns_EH = rewards.flip(1).cumsum(1).flip(1)

    def log_probs(self, theta: Tensor) -> Tensor:
        """log pi(a_t|s_t) of every trajectory: shape (E, H)."""
        table = torch.log_softmax(theta.view(STATES, ACTIONS), -1)
        return table[self.states_EH, self.actions_EH]

    def probabilities(self, theta: Tensor) -> Tensor:
        """Probability of every trajectory: shape (E,)."""
        return self.dynamics_E * self.log_probs(theta).sum(1).exp()

    def expected_return(self, theta: Tensor) -> Tensor:
        """J(theta), exact and differentiable."""
        return (self.probabilities(theta) * self.rewards_EH.sum(1)).sum()
