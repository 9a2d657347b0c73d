import importlib
import time

import gymnasium
import numpy as np
import pytest

import metarl
from benchmarks import Bench, Workload, costs, deviation_from_line
from benchmarks.busy_core import beside_a_busy_core
from benchmarks.limit import PhysicsLimit
from benchmarks.quadruped import changes, tracking
from benchmarks.workloads import peak_rss_mib
from metarl.errors import UserError
from metarl.experiment.config import parse_config
from metarl_envs.robots.half_cheetah import half_cheetah_vel

TINY = Workload("metarl/HalfCheetahVel-v0", 2, 2, 40)


@pytest.mark.parametrize("work", ["iteration", "adaptation"])
def test_every_speed_comes_with_its_ratio_to_the_physics(work):
    bench = Bench(TINY)
    figures = bench.measure(work, repeats=2)
    bench.close()
    assert set(figures) == {"physics_steps_per_s"} | {
        f"{part}_{kind}"
        for part in ("sampling", work)
        for kind in ("steps_per_s", "ratio", "share")
    }
    assert 0 < figures[f"{work}_share"] < figures["sampling_share"] < 1
    assert 0 < figures[f"{work}_ratio"] < figures["sampling_ratio"]


@pytest.mark.slow
def test_a_busy_core_slows_and_leaves_no_process_behind():
    kept = beside_a_busy_core(Workload(TINY.env, 4, 10, 40), repeats=2)
    assert set(kept) == {"sampling", "learning", "iteration"}
    assert all(0.05 < share < 1.5 for share in kept.values())


@pytest.mark.slow
def test_cost_is_that_of_a_process_of_its_own():
    small, large = costs([TINY, Workload(TINY.env, 4, 2, 40)], rounds=1)
    assert small["env_steps"] == 2 * 2 * 2 * 40
    assert large["env_steps"] == 2 * small["env_steps"]
    assert small["seconds"] > 0
    assert 0 < small["peak_rss_mib"] != peak_rss_mib()


def test_an_environment_without_physics_is_refused():
    with pytest.raises(UserError, match="no physics engine"):
        Bench(Workload("metarl/PointNavigation-v0", 2, 2, 40))


def test_deviation_from_a_line():
    sizes = [1, 2, 4, 8]
    assert deviation_from_line(sizes, [3.0 + 2.0 * size for size in sizes]) == pytest.approx(0.0)
    assert deviation_from_line(sizes, [size**2 for size in sizes]) > 0.2


def test_the_limit_goes_through_the_states_of_the_rollouts():
    env = half_cheetah_vel(3, variations={"payload": {}})
    env.simulations.batch = limit = PhysicsLimit(env.simulations.batch)
    tasks = env.task_distribution("train").sample(3, (0,))
    env.set_tasks(tasks)
    env.reset(seed=0)
    for step in range(1, 17):
        env.step(np.full((3, 6), 0.1 * step))
        same = (limit.alone.state == env.simulations.batch.state).all()
        assert same == (step % 8 == 0)
    assert limit.alone_s > 0


def test_repetitions_are_no_part_of_the_time():
    env = half_cheetah_vel(3)
    env.simulations.batch = limit = PhysicsLimit(env.simulations.batch)
    env.reset(seed=0)
    limit.clear()
    start = time.perf_counter()
    for _ in range(16):
        env.simulations.batch.step(nstep=5)
    elapsed_s = time.perf_counter() - start
    assert 0 < limit.extra_s < elapsed_s
    assert limit.engine_s <= elapsed_s - limit.extra_s


def test_a_peer_that_does_not_start_is_left_out(monkeypatch, capsys):

    peers = importlib.import_module("benchmarks.peers")
    monkeypatch.setattr(peers, "SECONDS", 0.05)

    def whole():
        return gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=40, torso_position=False)

    monkeypatch.setattr(peers, "makers", lambda: {"broken": lambda: 1 / 0, "whole": whole})
    assert set(peers.speeds()) == {"whole"}
    assert "broken is left out: division by zero" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("told", [False, True])
def test_the_quadruped_is_measured_before_and_after_adaptation(told, tmp_path, capsys):
    faults = {"dead_actuators": {"held_out": []}} | ({} if told else {"action_delay": {}})
    variations = {"payload": {"max_mass": 4.0}, **faults}
    env = {"id": "metarl/Quadruped-v0", "observe_task": told, "kwargs": {"variations": variations}}
    document = {
        "env": env,
        "learner": {"name": "multi_task", "outer": {"name": "adam"}},
        "policy": {},
        "meta_batch": 1,
        "episodes": 1,
        "horizon": 130,
        "iterations": 1,
        "evaluation": {"num_tasks": 1, "episodes": 2, "adaptation_steps": 1},
    }
    metarl.train(parse_config(document), tmp_path / "run")
    learner = metarl.load(tmp_path / "run")
    capsys.readouterr()
    tracking(learner)
    changes(learner, 2, 1, parse_config(document).evaluation)
    lines = capsys.readouterr().out.splitlines()
    measured = [line.split(":")[0].strip() for line in lines]
    names = ["payload and weak motors", "a dead motor", "actions 1 or 3 steps late"]
    after = [f"{name} after 100 steps" for name in (names[1:2] if told else names)]
    assert measured[0] == "held out"
    assert measured[1:] == [line for name in after for line in (name, "after 1 adaptation steps")]
