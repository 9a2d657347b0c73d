"""A robot in another process, whose messages come late or not at all, and a learner on it.

The robot is the simulated point of PointNavigation, with a drive that goes on with its last command
where none comes. A robot of your own is the class `UdpRobot` with your driver inside.

Run it: python docs/examples/robot.py [RUN]
"""

import json
import random
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import gymnasium
import numpy as np

from metarl_envs.robot_env import Limits, RobotEnv

ENV, GOAL = "metarl/PointNavigation-v0", (0.3, -0.2)
ACTION_SCALE, STEPS, PERIOD_S = 10.0, 100, 0.02
_PATIENCE, _RETRY_S, _TRIES = 1.5, 0.2, 50  # periods, seconds, times


class UdpRobot:
    """What `RobotEnv` asks of a robot, over UDP.

    Args:
        port: of the robot, on this machine.
    """

    def __init__(self, port):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._episode = 0

    def start(self):
        self._episode += 1
        for _ in range(_TRIES):
            self._send({"start": self._episode})
            self._socket.settimeout(_RETRY_S)
            try:
                while True:
                    heard = json.loads(self._socket.recv(4096))
                    if heard["episode"] == self._episode:
                        return np.array(heard["obs"])
            except TimeoutError:
                pass  # the message or its answer was lost
        raise ConnectionError("the robot does not answer")

    def act(self, action):
        self._send({"episode": self._episode, "action": np.asarray(action).tolist()})

    def observe(self):
        newest = None
        self._socket.setblocking(False)
        try:
            while True:
                heard = json.loads(self._socket.recv(4096))
                if heard["episode"] == self._episode:
                    newest = np.array(heard["obs"])
        except BlockingIOError:
            return newest

    def stop(self):
        self._send({"stop": True})

    def close(self):
        self._socket.close()

    def _send(self, message):
        self._socket.send(json.dumps(message).encode())


def serve(drop=0.0, delay_s=0.0, period_s=PERIOD_S):
    """Be the robot: print the port; then one step per command, or per period without one."""
    env = gymnasium.make(ENV, task={"goal": GOAL}, action_scale=ACTION_SCALE)
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    print(here.getsockname()[1], flush=True)
    chance = random.Random(0)
    episode, action, there = None, np.zeros(2), None
    while True:
        here.settimeout(None if episode is None else _PATIENCE * period_s)
        try:
            data, there = here.recvfrom(4096)
            heard = json.loads(data)
        except TimeoutError:
            heard = {}
        lost = chance.random() < drop
        if "stop" in heard:
            episode = None
            continue
        if "start" in heard:
            episode, action = heard["start"], np.zeros(2)
            obs, _ = env.reset(seed=0)
        elif episode is not None:
            if not lost and heard.get("episode") == episode:
                action = np.array(heard["action"])
            obs, *_ = env.step(action)
        else:
            continue
        time.sleep(delay_s)
        if chance.random() >= drop:
            here.sendto(json.dumps({"episode": episode, "obs": obs.tolist()}).encode(), there)


def robot_env(port, rate_hz=1.0 / PERIOD_S, **options):
    """The robot as an environment."""
    like = gymnasium.make(ENV, action_scale=ACTION_SCALE)
    options = {"max_episode_steps": STEPS, "reward": reward, **options}
    spaces = like.observation_space, like.action_space
    return RobotEnv(UdpRobot(port), *spaces, rate_hz=rate_hz, **options)


def reward(obs, action, next_obs):
    """What the user wants of it."""
    return -float(np.linalg.norm(next_obs - GOAL))


@contextmanager
def running(drop=0.0, delay_s=0.0, period_s=PERIOD_S):
    """The robot's process; gives its port."""
    options = [str(value) for value in (drop, delay_s, period_s)]
    command = [sys.executable, __file__, "--robot", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def main(run="zoo:point_navigation/maml_trpo"):
    """Adapt on the robot, and say how it went."""
    import metarl
    from metarl.deployment.control_loop import ControlLoop

    with running(drop=0.05, delay_s=0.002) as port:
        env = robot_env(port, limits=Limits(change=1.0))
        loop = ControlLoop(metarl.load(run), env)
        before = loop.run(episodes=2)
        loop.adapt(episodes=10)
        after = loop.run(episodes=2)
        report = loop.report()
        env.close()
        env.robot.close()
    print(f"return before {np.mean(before):.1f}, after 10 episodes {np.mean(after):.1f}")
    print("to act: {:.2f} ms median, {:.2f} ms p99".format(*report.act_ms))
    print(f"to adapt: {report.adapt_ms[0]:.1f} ms")
    print(f"late {report.late}, missed {report.missed}, limited {report.limited}")
    return before, after, report


if __name__ == "__main__":
    if "--robot" in sys.argv:
        serve(*(float(value) for value in sys.argv[2:]))
    else:
        main(*sys.argv[1:])
