"""Environments that fail, for the tests of faults; imported by worker processes."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from plugged import Point, register


class Failing(Point):
    """Raises in its third step."""

    def step(self, action):
        if self.steps == 2:
            raise RuntimeError("the gripper fell off")
        return super().step(action)


class Dying(Point):
    """Its process dies in the third step, in the sub-environment whose goal is positive."""

    def step(self, action):
        if self.steps == 2 and self.goal > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Hanging(Point):
    """Its second step never ends where the goal is positive."""

    def step(self, action):
        if self.steps == 1 and self.goal > 0:
            time.sleep(1e6)
        return super().step(action)


class Exiting(Point):
    """Its process exits in the second step where the goal is positive."""

    def step(self, action):
        if self.steps == 1 and self.goal > 0:
            os._exit(7)
        return super().step(action)


class Hungry(Point):
    """Takes more memory than there is in the second step where the goal is positive."""

    def step(self, action):
        if self.steps == 1 and self.goal > 0:
            np.ones(2**50)
        return super().step(action)


class DyingInReset(Point):
    """Its process dies in its second reset, in the sub-environment whose goal is positive.

    Once only: a file tells that it has happened.
    """

    resets = 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        died = Path(os.environ["DIED_ONCE"])
        if self.resets == 2 and self.goal > 0 and not died.exists():
            died.touch()
            os._exit(7)
        return super().reset(seed=seed, options=options)


class DyingInTask(Point):
    """Its process dies where it is given a positive goal for the second time, once only."""

    tasks = 0

    def set_task(self, task):
        super().set_task(task)
        self.tasks += 1
        died = Path(os.environ["DIED_ONCE"])
        if self.tasks == 2 and self.goal > 0 and not died.exists():
            died.touch()
            os._exit(7)


class NotPicklable(Point):
    def __init__(self, goal=0.0, helper=None):
        super().__init__(goal)
        self.helper = lambda: None


class ArrayReward(Point):
    def step(self, action):
        obs, reward, *rest = super().step(action)
        return (obs, np.array([reward]), *rest)


class OldApi(Point):
    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, info


class WrongShape(Point):
    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return np.append(obs, obs), info


class Crashing(Point):
    def step(self, action):
        os.abort()


class ClosesTheOriginal(Point):
    """As simulators behind a server: unpickling a copy closes the original's connection."""

    connections = 1

    def __setstate__(self, state):
        type(self).connections -= 1
        self.__dict__ |= state

    def step(self, action):
        assert type(self).connections > 0
        return super().step(action)


class Settles(Point):
    """Falls after a reset, the deeper the heavier it is."""

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        self.x += -0.1 * np.tanh(1.3 * self.goal + self.x)
        return np.array([self.x], np.float32), info


def apply_wrong_key(env, task):
    env.unwrapped.goal = task["gaol"]


def apply_negative_mass(env, task):
    env.unwrapped.model.body_mass[1] = -task["mass"]


register(Failing, Dying, Hanging, Exiting, Hungry, NotPicklable, ArrayReward, OldApi, WrongShape)
register(Crashing, ClosesTheOriginal, Settles, DyingInReset, DyingInTask)
