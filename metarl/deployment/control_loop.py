"""A learner on a robot: acts in real time, adapts from own rollouts, says how long both took.

    robot = RobotEnv(MyRobot(), observation_space, action_space, reward=reward, rate_hz=50)
    loop = ControlLoop(metarl.load("runs/x"), robot)
    loop.adapt(episodes=10)
    loop.run(episodes=5)
    metarl.save_policy(loop.policy, "adapted")

A learner that remembers (RL2) goes on adapting while it acts; one with gradients adapts between
episodes, while the robot rests.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from metarl.adapted_policy import AdaptedPolicy
from metarl.environments.fit import require_fit
from metarl.errors import ConfigError
from metarl.interaction.lived import horizon_of, rollouts_on, rounds_of
from metarl.interaction.threads import arithmetic_threads
from metarl.learners.base import MetaLearner
from metarl.learners.demonstrated import require_demonstrations
from metarl.seeding import Purpose
from metarl_envs.robot_env import RobotEnv, percentiles_ms

S = TypeVar("S")


class LoopReport(NamedTuple):
    """What a loop came to so far.

    Attributes:
        returns: of every episode, those of adaptation first in their order.
        act_ms: median and 99th percentile of the time from an observation to its action.
        adapt_ms: median and 99th percentile of an adaptation step, without its rollouts.
        late: actions that came after their step had ended.
        missed: steps without an observation.
        limited: actions that were cut to the limits.
    """

    returns: tuple[float, ...]
    act_ms: tuple[float, float]
    adapt_ms: tuple[float, float]
    late: int
    missed: int
    limited: int


class ControlLoop(Generic[S]):
    """Acts on a robot and adapts to it.

    Args:
        learner: a meta-learner, see `metarl.load`; or a policy that has adapted already, see
            `metarl.load_policy`, to go on from there.
        env: the robot.
        seed: of the noise of exploring actions.
        deterministic: whether `run` takes the most likely actions.

    Raises:
        EnvironmentFitError: if the robot's spaces are not those of training.
        ConfigError: if the learner adapts to demonstrations.
    """

    def __init__(
        self,
        learner: MetaLearner[S] | AdaptedPolicy[S],
        env: RobotEnv,
        *,
        seed: int = 0,
        deterministic: bool = True,
    ) -> None:
        if isinstance(learner, AdaptedPolicy):
            self.learner, self._state = learner.learner, learner.state
        else:
            self.learner, self._state = learner, learner.begin(1, 1)
        require_demonstrations(self.learner, None)
        spaces = env.observation_space, env.action_space
        require_fit("the robot", *spaces, self.learner.spec)
        self.env, self._seed, self._deterministic = env, seed, deterministic
        self._fresh = not isinstance(learner, AdaptedPolicy)
        self._rounds = self._runs = 0
        self._returns, self._adapt_s = list[float](), list[float]()

    @property
    def policy(self) -> AdaptedPolicy[S]:
        """As adapted so far."""
        seed = self._seed + self._runs  # other noise in every run
        return AdaptedPolicy(self.learner, self._state, self.env.action_space, seed)

    def adapt(self, episodes: int = 20, steps: int = 1) -> None:
        """Explore for `episodes` rollouts per adaptation step, and adapt in place.

        Raises:
            ConfigError: if a number is not positive, or the robot gives no rewards.
        """
        if episodes < 1 or steps < 1:
            raise ConfigError(f"episodes and steps must be positive, got {episodes} and {steps}")
        if not self.env.gives_rewards:
            raise ConfigError("adapting needs rewards: give RobotEnv(reward=...)")
        learner, env = self.learner, self.env
        episodes, steps = rounds_of(learner, episodes, steps)
        if self._fresh:
            self._state, self._fresh = learner.begin(1, episodes), False
        for _ in range(steps):
            path = (self._seed, Purpose.ADAPTATION, self._rounds)
            with self._watched():
                horizon = horizon_of(env, learner)
                rollouts = rollouts_on(env, learner, self._state, path, episodes, horizon)
            start = time.perf_counter()
            self._state = learner.adapt(self._state, rollouts)
            self._adapt_s.append(time.perf_counter() - start)
            self._returns += rollouts.returns_ME[0].tolist()
            self._rounds += 1

    def run(self, episodes: int = 1) -> list[float]:
        """Returns of so many episodes; a learner that remembers goes on adapting within each."""
        policy, returns = self.policy, list[float]()
        for _ in range(episodes):
            with self._watched(), arithmetic_threads(1):
                obs, _ = self.env.reset()
                total, state, reward, done = 0.0, None, 0.0, False
                while not done:
                    action, state = policy.predict(
                        obs, state, deterministic=self._deterministic, reward=reward
                    )
                    obs, reward, terminated, truncated, _ = self.env.step(action)
                    total, done = total + reward, terminated or truncated
            returns.append(total)
        self._runs += 1
        self._returns += returns
        return returns

    def report(self) -> LoopReport:
        """What it came to so far."""
        timing = self.env.timing
        times = percentiles_ms(timing.act_s), percentiles_ms(self._adapt_s)
        counts = timing.late, timing.missed, timing.limited
        return LoopReport(tuple(self._returns), *times, *counts)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Whatever goes wrong, the robot comes to rest."""
        try:
            yield
        except BaseException:
            self.env.close()
            raise
