"""Imitation and guidance: losses against closed forms, gradients against finite differences."""

from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from demonstrated import demonstrate_by_chance
from small_runs import SmallRun, tasks_of

import metarl
from metarl.errors import ConfigError
from metarl.experiment.config import parse_config
from metarl.experiment.world import Alone
from metarl.learners.imitation import cloning
from metarl.params import flatten, unflatten
from metarl.policies.distributions import Categorical, DiagonalGaussian

POINT = {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}}


def test_losses_equal_closed_forms(float64):
    mean = torch.tensor([[[0.5, -1.0], [2.0, 0.0], [9.0, 9.0]]])
    actions = torch.tensor([[[1.0, -1.0], [0.0, 1.0], [0.0, 0.0]]])
    shown = cloning.Shown(mean, actions, torch.tensor([[0.5, 0.5, 0.0]]))
    policy = DiagonalGaussian(mean, torch.zeros(1, 1, 2))
    squared = cloning.cloning_loss(policy, shown, "mean_squared_error")
    assert float(squared) == pytest.approx(0.5 * (0.5 * 0.25 + 0.5 * 5.0))
    likelihood = cloning.cloning_loss(policy, shown, "likelihood")
    constant = torch.log(torch.tensor(2.0 * torch.pi))  # two dimensions of unit deviation
    assert float(likelihood) == pytest.approx(float(squared + constant))


def test_steps_after_the_end_do_not_count():
    run = SmallRun("imitation", "metarl/HopperRandParams-v0", h=30)
    rollouts = run.collect(run.begin())
    assert not rollouts.valid_MEH.all()
    spoilt = replace(
        rollouts,
        actions_MEHA=torch.where(rollouts.valid_MEH[..., None], rollouts.actions_MEHA, 7.0),
    )
    first, second = (run.learner.adapt(run.begin(), r).params_M for r in (rollouts, spoilt))
    assert all(torch.equal(first[name], second[name]) for name in first)


def objective_of(run, monkeypatch):
    """The objective of a meta-update in float64."""
    found = []

    class Kept(cloning.CloningObjective):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            found.append(self)

    for module in ("imitation", "guided"):
        monkeypatch.setattr(f"metarl.learners.imitation.{module}.CloningObjective", Kept)
    run.learner.dtype = torch.float64
    theta = {name: v.double() for name, v in run.learner.meta_parameters.items()}
    run.learner.load_meta_parameters(theta)
    run.iterate()
    run.learner.load_meta_parameters(theta)
    return found[0], theta


@pytest.mark.parametrize("loss", ["mean_squared_error", "likelihood"])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["imitation", "guided"])
def test_meta_gradients_equal_finite_differences(name, steps, loss, monkeypatch, float64):
    sizes = {"step_size": 0.3} if name == "imitation" else {"step_sizes": [0.3]}
    run = SmallRun(name, loss=loss, inner={"steps": steps, **sizes}, policy={"hidden_sizes": [5]})
    objective, theta = objective_of(run, monkeypatch)
    gradient, flat = objective.gradient(), flatten(theta)
    for index in (0, 7, len(flat) - 1, len(flat) // 2):
        values = []
        for change in (1e-5, -1e-5):
            moved = flat.clone()
            moved[index] += change
            values.append(objective.evaluate(unflatten(moved, theta))[0])
        expected = (values[0] - values[1]) / 2e-5
        assert float(gradient[index]) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def of_task(step, own, params_M, tasks):
    return step(params_M, own)


def test_one_task_alone_is_that_task_in_a_batch(monkeypatch, float64):
    objective, theta = objective_of(SmallRun("imitation", num_tasks=3), monkeypatch)
    whole = objective.gradient()
    parts = []
    for task in range(3):
        own = slice(task, task + 1)
        alone = cloning.CloningObjective(
            objective.policy,
            [partial(of_task, step, own) for step in objective.steps],
            objective.query.of_tasks(own),
            "mean_squared_error",
            theta,
            [slice(0, 1)],
            Alone(),
            1,
        )
        parts.append(alone.gradient())
    torch.testing.assert_close(whole, torch.stack(parts).mean(0))


def test_imitation_does_what_it_was_shown():
    """After training, one demonstration changes the actions towards the expert's."""
    run = SmallRun("imitation", loss="mean_squared_error", h=20)
    # experts that push in a direction of their task's own
    push = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])[:, None, None]
    shown = run.shown.rollouts
    run.shown = replace(
        run.shown, rollouts=replace(shown, actions_MEHA=push.expand_as(shown.actions_MEHA).clone())
    )
    run.iterate(15)
    adapted = run.learner.adapt(run.begin(), run.shown.of_episodes([0]).rollouts)
    for state, near in ((run.begin(), False), (adapted, True)):
        obs = shown.obs_MEHO[:, 0]
        found = run.learner.policy(state.params_M, obs).mode
        error = float((found - push[:, 0]).square().mean())
        assert (error < 0.05) == near, error


@pytest.mark.parametrize(
    ("learner", "changes", "message"),
    [
        ("imitation", {"tasks": {}}, "learner imitation needs demonstrations: tasks.kind=dem"),
        ("imitation", {"evaluation": {}}, "adapts to demonstrations: evaluation.demonstrations"),
        ("maml", {"tasks": {"kind": "demonstrated", "demonstrations": "x"}}, "does not learn from"),
        ("maml", {"evaluation": {"demonstrations": "x"}}, "maml does not adapt to demonstrations"),
        ("guided", {"tasks": {"kind": "demonstrated"}}, "takes demonstrations with kind demonst"),
    ],
)
def test_demonstrations_where_they_belong(tiny_document, learner, changes, message):
    document = {**tiny_document, "learner": {"name": learner}, "policy": {}}
    with pytest.raises(ConfigError) as error:
        parse_config({**document, **tasks_of(learner, 3), **changes})
    assert message in str(error.value)


def test_squared_errors_of_discrete_actions_are_refused():
    run = SmallRun("maml")
    with pytest.raises(ConfigError, match="discrete actions have no squared error"):
        cloning.require_loss("mean_squared_error", run.spec._replace(num_actions=3))
    logits = torch.zeros(1, 2, 3)
    shown = cloning.Shown(logits, torch.tensor([[[0.0], [2.0]]]), torch.full((1, 2), 0.5))
    loss = cloning.cloning_loss(Categorical(logits), shown, "likelihood")
    assert float(loss) == pytest.approx(float(torch.log(torch.tensor(3.0))))


def test_training_from_files_end_to_end(tiny_document, tmp_path):
    for split in ("train", "test"):
        demonstrate_by_chance(tmp_path / split, POINT, split=split)
    document = {
        **tiny_document,
        "env": POINT,
        "learner": {"name": "imitation"},
        "policy": {},
        "tasks": {"kind": "demonstrated", "demonstrations": str(tmp_path / "train")},
        "evaluation": {
            **tiny_document["evaluation"],
            "num_tasks": 2,
            "demonstrations": str(tmp_path / "test"),
        },
    }
    result = metarl.train(parse_config(document), tmp_path / "run")
    assert result.returns.shape[1] == 2 and result.episodes_behind[1] == 1
    assert result.held_out and result.split == "test"
    check_it_adapts_to_files(metarl.load(tmp_path / "run"), tmp_path / "test", result)
    check_what_it_was_shown(metarl.load(tmp_path / "run"), tmp_path)
    document["iterations"] = 4
    with pytest.raises(ConfigError, match="shows other tasks than when this run began"):
        train = tmp_path / "train"
        train.rename(tmp_path / "before")
        demonstrate_by_chance(train, POINT, seed=5)
        metarl.train(parse_config(document), tmp_path / "run", resume=True)


def check_what_it_was_shown(learner, folder):
    shown = metarl.load_demonstrations(folder / "train", learner)
    sizes = dict(num_tasks=2, episodes=2, adaptation_steps=4)
    seen = metarl.evaluate(learner, POINT["id"], demonstrations=shown, split="test", **sizes)
    assert not seen.held_out and seen.split == "train"
    assert seen.episodes_behind.tolist() == [0, 1, 2, 3, 3]  # there are no more
    assert (seen.env_steps_behind == np.array([[0, 8, 16, 24, 24]]).T).all()
    env = gymnasium.make(POINT["id"], task={"goal": [0.01, 0.02]}, **POINT["kwargs"])
    with pytest.raises(ConfigError, match="the environment's task is"):
        metarl.adapt(learner, env, demonstrations=shown.of_tasks([1]))
    wide = replace(shown.rollouts, obs_MEHO=shown.rollouts.obs_MEHO.repeat(1, 1, 1, 4))
    for wrong, message in (
        (str(folder), "what metarl.load_demonstrations gives"),
        (shown.of_episodes([]), "no demonstrations in these"),
        (replace(shown, rollouts=wide), "observations of size 8, the learner was trained with 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            metarl.evaluate(learner, POINT["id"], demonstrations=wrong)


def check_it_adapts_to_files(learner, folder, result):
    with pytest.raises(ConfigError, match="this learner adapts to demonstrations: give it"):
        metarl.evaluate(learner, POINT["id"])
    shown = metarl.load_demonstrations(folder, learner)
    again = metarl.evaluate(
        learner,
        POINT["id"],
        num_tasks=2,
        episodes=result.returns.shape[2],
        adaptation_steps=len(result.returns) - 1,
        demonstrations=shown,
    )
    assert (again.returns == result.returns).all()
    env = metarl.make_env(learner, {"goal": shown.tasks["goal"][1]})
    with pytest.raises(ConfigError, match="demonstrations of one task, please, got 3"):
        metarl.adapt(learner, env, demonstrations=shown)
    with pytest.raises(ConfigError, match="give it demonstrations="):
        metarl.adapt(learner, env)
    policy = metarl.adapt(learner, env, demonstrations=shown.of_tasks([1]).of_episodes([0]))
    whole = learner.adapt(learner.begin(3, 1), shown.of_episodes([0]).rollouts)
    for name, value in policy.state.params_M.items():
        torch.testing.assert_close(value[0], whole.params_M[name][1])
    with pytest.raises(ConfigError, match="demonstrations of 3 tasks, num_tasks is 4"):
        metarl.evaluate(learner, POINT["id"], num_tasks=4, demonstrations=shown)


def test_the_rate_decays_by_iterations_whatever_the_updates():
    options = {"learning_rate": 1e-3, "final_learning_rate": 1e-5, "decay_iterations": 4}
    run = SmallRun("imitation", updates=5, outer=options)
    rates = []
    for _ in range(5):
        rates.append(run.learner.outer_rate)
        run.iterate()
    np.testing.assert_allclose(rates, [1e-3, 7.525e-4, 5.05e-4, 2.575e-4, 1e-5])
