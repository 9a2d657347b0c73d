"""A wrapper as a user writes it; imported by worker processes."""

import gymnasium


class Halved(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 0.5 * reward
