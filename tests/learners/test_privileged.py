"""Teachers that are told the task, and students that find out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import M, SmallRun, percept, vector

import metarl
from metarl.errors import ConfigError
from metarl.experiment.config import parse_config
from metarl.learners.privileged.base import ToldActor
from metarl.learners.privileged.told_tasks import ToldTasks
from metarl.params import flatten
from metarl.policies.actors import Percept
from metarl_envs.tasks.batches import rows_of

NAMES = ["rma", "distillation"]


def told(run):
    """The tasks' numbers as the learner is told them."""
    tasks = torch.from_numpy(np.stack([run.tasks["goal"][i] for i in range(len(run.keys))]))
    return tasks.double()


def returns(run, tasks):
    state = run.learner.told_state(tasks, run.env.num_envs // len(run.keys))
    return run.collect(state, 50).returns_ME.mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_uses_what_it_is_told_and_no_latent_collapses(name):
    keys = {"teacher_iterations": 60, "learning_rate": 3e-3}
    run = SmallRun(name, num_tasks=12, episodes=4, h=20, **keys)
    metrics = run.iterate(60)
    assert metrics["train/least_latent_std"] > 0.1
    tasks = told(run)
    right, swapped = returns(run, tasks), returns(run, tasks.roll(6, dims=0))
    assert right > swapped + 1.0


@pytest.mark.parametrize("name", NAMES)
def test_the_students_gradient_is_that_of_its_errors(name):
    run = SmallRun(name, episodes=2, h=9, hidden_size=3)
    learner = run.learner
    learner.network.double(), learner.encoder.double(), learner.teacher.double()
    rng = torch.Generator().manual_seed(1)
    shapes = {"inputs": learner.network.core.input_size, "obs": 2, "told": 2}
    data = {k: torch.randn(6, 4, n, generator=rng, dtype=torch.float64) for k, n in shapes.items()}
    student = learner.student_parameters()
    with torch.no_grad():  # off the rectifiers' corners, where what is before the beginning lies
        for parameter in student:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))

    def error():
        return learner.student_errors(data).sum()

    gradient = torch.autograd.grad(error(), list(student))
    assert any(g.abs().max() > 0 for g in gradient)
    with torch.no_grad():
        for parameter, slope in zip(student, gradient, strict=True):
            index = int(slope.abs().flatten().argmax())
            values = []
            for sign in (1, -1):
                parameter.view(-1)[index] += sign * 1e-6
                values.append(error().item())
                parameter.view(-1)[index] -= sign * 1e-6
            found = (values[0] - values[1]) / 2e-6
            assert found == pytest.approx(slope.flatten()[index].item(), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_leaves_the_teacher_and_what_is_normalised_alone(name):
    run = SmallRun(name, normalization={"observations": True})
    run.iterate()
    names = ("teacher", "encoder")
    before = {n: flatten(dict(getattr(run.learner, n).named_parameters())).clone() for n in names}
    known = {k: v.clone() for k, v in run.learner.normalizer.state().items()}
    student = [p.detach().clone() for p in run.learner.student_parameters()]
    metrics = run.iterate()
    assert metrics["train/student_error"] > 0
    for n in names:
        after = flatten(dict(getattr(run.learner, n).named_parameters()))
        assert torch.equal(before[n], after)
    assert all(torch.equal(v, known[k]) for k, v in run.learner.normalizer.state().items())
    pairs = zip(student, run.learner.student_parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_the_student_learns_from_what_it_does_itself(name):
    """DAgger: rollouts of the second phase are those of a state that is told nothing."""
    run = SmallRun(name)
    run.iterate()
    states = []
    collect = run.collect
    run.collect = lambda state, phase: states.append(state) or collect(state, phase)
    run.iterate()
    (state,) = states
    assert all(torch.equal(state.parts[k], v) for k, v in run.begin().parts.items())
    assert "told" not in state.parts


@pytest.mark.parametrize("name", [*NAMES, "rl2"])
def test_without_the_reward_nothing_depends_on_it(name):
    keys = {} if name in NAMES else {"inputs": ["observation", "action"]}
    run = SmallRun(name, **keys)
    assert not run.learner.acts_on_rewards
    actions = []
    for reward in (0.0, 9.0):
        actor = run.learner.actor(run.begin())
        for first in (True, False):
            seen = percept(0.3)
            rewards = np.full_like(seen.previous_rewards_ME, reward)
            flags = np.full_like(seen.first_ME, first)
            seen = seen._replace(previous_rewards_ME=rewards, first_ME=flags)
            step = actor.act(seen, None)
        actions.append(step.actions_MEA)
    np.testing.assert_array_equal(*actions)
    rollouts = run.collect(run.begin())
    other = replace(rollouts, rewards_MEH=rollouts.rewards_MEH + 5.0)
    for a, b in zip(
        *(run.learner.adapt(run.begin(), r).parts.values() for r in (rollouts, other)), strict=True
    ):
        assert torch.equal(a, b)


def test_told_numbers_are_scaled_and_what_never_varies_is_zero():
    statistics = ToldTasks(3, torch.device("cpu"))
    tasks = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([100.0, 0.01, 0.0]) + 7.0
    for part in tasks.split(100):
        statistics.take_in(part)
    scaled = statistics.scaled(tasks, torch.float64)
    torch.testing.assert_close(
        scaled.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        scaled.std(0, correction=0),
        torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )
    again = ToldTasks(3, torch.device("cpu"))
    assert again.load({**statistics.state(), "weight": tasks}) == {"weight": tasks}
    assert torch.equal(again.scaled(tasks, torch.float64), scaled)


def test_a_training_without_a_second_phase_is_refused():
    document = {
        "env": {"id": "metarl/PointNavigation-v0"},
        "learner": {"name": "rma", "teacher_iterations": 10},
        "meta_batch": M,
        "episodes": 2,
        "horizon": 5,
        "iterations": 10,
    }
    with pytest.raises(ConfigError, match="iterations = 10 leaves out a phase of learner"):
        parse_config(document)


def test_where_every_simulation_diverges_at_once_nothing_is_learned_and_nothing_fails():
    run = SmallRun("domain_randomization")
    before = vector(run.learner)
    collect = run.collect

    def diverged(state, phase):
        rollouts = collect(state, phase)
        return replace(rollouts, valid_MEH=torch.zeros_like(rollouts.valid_MEH))

    run.collect = diverged
    metrics = run.iterate()
    assert metrics["train/kl"] == 0 and torch.equal(vector(run.learner), before)


DYING = {
    "variations": {"dead_actuators": {"groups": [[0], [1], [2]], "held_out": [], "at": [2, 6]}}
}


def dying(name):
    """Cheetahs whose joints die in the third to seventh step."""
    return SmallRun(
        name,
        env_id="metarl/HalfCheetahVel-v0",
        env_kwargs=DYING,
        num_tasks=3,
        episodes=4,
        h=12,
        teacher_iterations=5,
        normalization={"observations": True},
    )


@pytest.mark.parametrize("name", NAMES)
def test_of_a_change_in_mid_episode_a_teacher_is_told_when_it_holds(name):
    run = dying(name)
    run.iterate()
    (seen,) = run.seen
    told_MEHA = seen.extras["told"][..., :6]
    dead, onsets = run.tasks["actuator_alive"].argmin(1), set()
    for task in range(3):
        for told_HA in told_MEHA[task]:
            onset = int((told_HA.min(-1).values == 1.0).sum())
            onsets.add(onset)
            assert 2 <= onset <= 6 and (told_HA[:onset] == 1.0).all()
            assert (told_HA[onset:].argmin(-1) == int(dead[task])).all()
    assert len(onsets) > 1


@pytest.mark.parametrize("name", NAMES)
def test_what_a_teacher_acted_on_is_what_it_learns_from(name, monkeypatch):
    run = dying(name)
    run.iterate()
    recorded, again = log_probs_of(run, monkeypatch)
    torch.testing.assert_close(recorded, again, atol=1e-4, rtol=1e-4)


def log_probs_of(run, monkeypatch):
    """Log-probabilities as recorded, and by the distribution that PPO starts from."""
    improve, found = run.learner.ppo.improve, []

    def watched(data, *rest):
        with torch.no_grad():
            log_probs = run.learner.ppo.distribution(data).log_prob(data["actions"])
        found.extend([data["log_probs"].squeeze(-1), log_probs])
        return improve(data, *rest)

    monkeypatch.setattr(run.learner.ppo, "improve", watched)
    run.iterate()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_told_anew_in_every_step_is_told_the_same(name):
    run = dying(name)
    run.iterate()
    numbers = torch.from_numpy(rows_of(run.tasks))
    actor = run.learner.actor(run.learner.told_state(numbers, 4))
    seen = percept_of(run)
    told_MEP = numbers[:, None].expand(-1, 4, -1).numpy().copy()
    noise = np.zeros((3, 4, run.learner.noise_size), np.float32)
    once = actor.act(seen, noise).actions_MEA
    np.testing.assert_allclose(
        actor.act(seen._replace(told_MEP=told_MEP), noise).actions_MEA, once, atol=1e-6
    )
    other = actor.act(seen._replace(told_MEP=np.roll(told_MEP, 1, axis=0)), noise).actions_MEA
    assert np.abs(other - once).max() > 1e-5


def percept_of(run):
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(3, 4, run.spec.obs_size)).astype(np.float32)
    zeros = np.zeros((3, 4), np.float32)
    return Percept(obs, np.zeros((3, 4, run.spec.action_size), np.float32), zeros, zeros > 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_change_is_not_told_step_by_step(name):
    run = SmallRun(name)
    run.iterate()
    assert all("told" not in seen.extras for seen in run.seen)


@pytest.mark.parametrize(("at", "tells"), [([2, 6], True), (None, False)])
def test_a_training_tells_its_teacher_what_holds(at, tells, tmp_path, monkeypatch):
    told, act = [], ToldActor.act

    def watched(actor, seen, noise_MEN):
        told.append(seen.told_MEP)
        return act(actor, seen, noise_MEN)

    monkeypatch.setattr(ToldActor, "act", watched)
    dead = {"groups": [[0], [1], [2]], "held_out": []} | ({"at": at} if at else {})
    document = {
        "env": {
            "id": "metarl/HalfCheetahVel-v0",
            "kwargs": {"variations": {"dead_actuators": dead}},
        },
        "learner": {"name": "rma", "teacher_iterations": 1},
        "meta_batch": 2,
        "episodes": 1,
        "horizon": 8,
        "iterations": 2,
        "evaluation": {"num_tasks": 1, "episodes": 1, "adaptation_steps": 0},
    }
    metarl.train(parse_config(document), tmp_path / "run")
    assert len(told) == 8 and all((now is not None) == tells for now in told)
    if tells:
        assert (told[0][..., :6] == 1.0).all() and (told[-1][..., :6].min(-1) == 0.0).all()
