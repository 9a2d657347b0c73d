"""VariBAD's parts against closed forms and finite differences."""

import pytest
import torch
from small_runs import E, M, SmallRun
from torch import distributions as td

import metarl
from metarl.experiment.config import parse_config
from metarl.experiment.world import Alone
from metarl.interaction.trial_buffer import TrialBuffer
from metarl.learners.inference.belief import kl_between
from metarl.params import flatten

POINT, HOPPER = "metarl/PointNavigation-v0", "metarl/HopperRandParams-v0"
BELIEF = {"beliefs": 3, "decoded_steps": 4, "batch_trials": 4, "steps": 2}


def inferring(env_id=POINT, h=12, policy=None, **learner):
    belief = {**BELIEF, **learner.pop("belief", {})}
    return SmallRun("varibad", env_id, h=h, policy=policy, hidden_size=8, belief=belief, **learner)


def trial_of(run, phases=(0, 1)):
    state, episodes = run.begin(), []
    for phase in phases:
        episodes.append(run.collect(state, phase))
        state = run.learner.adapt(state, episodes[-1])
    beside = {"next_obs": [rollouts.next_obs_MEHO for rollouts in episodes]}
    return episodes, run.learner.joined(episodes, beside)


def random_parameters(run, scale=0.5):
    """Larger than the initial ones, so that everything matters."""
    with torch.no_grad():
        modules = (run.learner.network, run.learner.decoder)
        for index, value in enumerate(p for module in modules for p in module.parameters()):
            generator = torch.Generator().manual_seed(index)
            value.copy_(scale * torch.randn(value.shape, generator=generator))


# T12: memory and belief


@pytest.mark.parametrize("memory", ["gru", "lstm"])
@pytest.mark.parametrize("network", ["tanh", "hypernetwork"])
@pytest.mark.parametrize("env_id", [POINT, HOPPER])
def test_whole_trials_give_the_log_probs_of_acting(memory, network, env_id):
    run = inferring(env_id, 30, {"network": network, "hidden_sizes": [5]}, memory=memory)
    random_parameters(run, 0.3)
    run.learner.load_meta_parameters(run.learner.meta_parameters)
    episodes, joined = trial_of(run, (0, 1, 2))
    data = run.learner.ppo_data(joined)
    with torch.no_grad():
        log_probs = run.learner.ppo.distribution(data).log_prob(data["actions"])
    valid = data["valid"].squeeze(-1) == 1
    assert valid.sum() == sum(int(e.valid_MEH.sum()) for e in episodes)
    expected = data["log_probs"].squeeze(-1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-3, rtol=1e-3)


def test_kl_of_successive_beliefs_against_torch(float64):
    generator = torch.Generator().manual_seed(0)
    own, before = (torch.randn(6, 4, generator=generator) for _ in range(2))
    (mean, log), (mean_before, log_before) = own.chunk(2, -1), before.chunk(2, -1)
    expected = td.kl_divergence(
        td.Normal(mean, (0.5 * log).exp()), td.Normal(mean_before, (0.5 * log_before).exp())
    ).sum(-1)
    torch.testing.assert_close(kl_between(own, before), expected)


def test_the_loss_against_its_definition(float64):
    """Every belief, every step: plain loops over torch's distributions."""
    run = inferring(belief={"decode_obs": True, "kl_weight": 0.7})
    run.learner.network.double(), run.learner.decoder.double()
    random_parameters(run)
    trials = synthetic(run, lengths=(7, 5, 0))
    chosen = torch.tensor([[0, 0, 0], [3, 4, 0]]), torch.tensor([[1, 2, 0], [6, 0, 0]])
    noise = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        error, kl = run.learner.vae.losses(trials, *chosen, noise)
        expected_error = expected_kl = torch.zeros(())
        for n, length in enumerate((7, 5)):
            hidden = run.learner.network.memory(trials["inputs"][:, n : n + 1])[0][:, 0]
            beliefs = [(torch.zeros(5), torch.ones(5))]
            for row in run.learner.head.to_belief(hidden):
                beliefs.append((row[:5], (0.5 * row[5:].clamp(-10, 10)).exp()))
            for k in (0, 1):
                t = int(chosen[0][k, n])
                own, before = td.Normal(*beliefs[t + 1]), td.Normal(*beliefs[t])
                expected_kl = expected_kl + 0.7 * td.kl_divergence(own, before).sum() / length / 2
                z = own.loc + own.scale * noise[k, n]
                for i in chosen[1][:, n].tolist():
                    obs, action, after = (trials[x][i, n] for x in ("obs", "actions", "next_obs"))
                    reward = run.learner.decoder.rewards(torch.cat([z, obs, action, after]))
                    state = run.learner.decoder.obs(torch.cat([z, obs, action]))
                    squares = (reward - trials["rewards"][i, n]).square().sum()
                    squares = squares + (state - after).square().sum()
                    expected_error = expected_error + squares / 4
    torch.testing.assert_close(error, expected_error)
    torch.testing.assert_close(kl, expected_kl)


def synthetic(run, lengths):
    spec, steps, count = run.spec, 8, len(lengths)
    generator = torch.Generator().manual_seed(5)
    sizes = {"obs": spec.obs_size, "actions": spec.action_size, "rewards": 1}
    sizes |= {"next_obs": spec.obs_size, "inputs": run.learner.network.memory.input_size}
    valid = torch.arange(steps).view(-1, 1, 1) < torch.tensor(lengths).view(1, -1, 1)
    trials = {n: torch.randn(steps, count, s, generator=generator) for n, s in sizes.items()}
    return {**{n: v * valid for n, v in trials.items()}, "valid": valid.double()}


def test_gradients_equal_finite_differences(float64):
    run = inferring(belief={"decode_obs": True})
    run.learner.network.double(), run.learner.decoder.double()
    random_parameters(run)
    vae, trials = run.learner.vae, synthetic(run, (8, 3, 6))
    drawn = vae.draw(trials["valid"].sum((0, 2)), torch.Generator().manual_seed(2))
    like = {name: value.detach().clone() for name, value in vae.module.named_parameters()}
    gradient = torch.autograd.grad(vae.losses(trials, *drawn).sum(), [*vae.module.parameters()])
    generator = torch.Generator().manual_seed(3)
    direction = {n: torch.randn(v.shape, generator=generator) for n, v in like.items()}
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, value in vae.module.named_parameters():
                value.copy_(like[name] + sign * 1e-6 * direction[name])
            values.append(float(vae.losses(trials, *drawn).sum()))
    expected = (values[0] - values[1]) / 2e-6
    found = sum(float((g * d).sum()) for g, d in zip(gradient, direction.values(), strict=True))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_weight_of_the_kl_does_not_depend_on_the_number_of_trials(float64):
    run = inferring()
    run.learner.network.double(), run.learner.decoder.double()
    random_parameters(run)
    steps = []
    for copies in (1, 5):
        trials = {n: v.repeat(1, copies, 1) for n, v in synthetic(run, (8, 4)).items()}
        chosen = torch.tensor([[2, 1], [5, 3]]).repeat(1, copies)
        noise = torch.ones(2, 2 * copies, 5)
        run.learner.vae.draw = lambda *_, c=chosen, z=noise: (c, c, z)
        metrics = run.learner.vae.update(trials, torch.Generator(), Alone())
        steps.append([metrics[n] for n in ("train/decoder_error", "train/belief_kl")])
        random_parameters(run)
    assert steps[0] == pytest.approx(steps[1])


def test_no_gradient_of_ppo_reaches_the_encoder_and_none_of_the_elbo_the_policy():
    run = inferring()
    before = run.learner.meta_parameters
    _, joined = trial_of(run)
    before = {name: value.clone() for name, value in before.items()}
    run.learner.ppo.improve(run.learner.ppo_data(joined), torch.Generator(), Alone())
    moved = changed(before, run.learner.meta_parameters)
    assert moved and all(n.startswith(("head.policy.", "log_std")) for n in moved)
    before = {name: value.clone() for name, value in run.learner.meta_parameters.items()}
    run.learner.vae.update(run.learner.whole_trials(joined), torch.Generator(), Alone())
    moved = changed(before, run.learner.meta_parameters)
    assert moved and all(n.startswith(("memory.", "head.to_belief.", "decoder.")) for n in moved)


def changed(before, after):
    return [name for name, value in before.items() if not torch.equal(value, after[name])]


def test_next_observations_are_those_of_their_own_episode():
    run = inferring(HOPPER, 30)
    episodes, joined = trial_of(run)
    trials = run.learner.whole_trials(joined)
    first = episodes[0].transitions(1)
    count = int(episodes[0].lengths_ME[1, 0])
    own = trials["next_obs"][:count, E]  # task 1, its first trial
    torch.testing.assert_close(own, first.next_obs_NO[:count])
    assert int(trials["valid"].sum()) == sum(int(e.valid_MEH.sum()) for e in episodes)


def test_a_decoder_learns_the_tasks_rewards():
    """One latent per task: what it predicts of its own task beats what it predicts of another."""
    run = inferring(belief={"steps": 300, "batch_trials": M * E, "beliefs": 8, "decoded_steps": 8})
    run.iterate()
    _, joined = trial_of(run)
    trials = run.learner.whole_trials(joined)
    count = M * E
    with torch.no_grad():
        beliefs = run.learner.beliefs(trials["inputs"])[-1, :, :5]
        errors = [
            float(
                run.learner.decoder.squared_errors(
                    beliefs.roll(shift, 0).expand(len(trials["obs"]), count, -1), trials
                ).mean()
            )
            for shift in (0, E)
        ]
    assert errors[0] < 0.7 * errors[1]


# Trials


def test_the_buffer_keeps_the_newest_and_gives_each_once():
    buffer = TrialBuffer(5)
    assert len(buffer) == 0
    for start, steps in ((0, 3), (4, 2)):
        numbers = torch.arange(start, start + 4.0).view(1, 4, 1).expand(steps, 4, 1)
        buffer.add({"obs": numbers, "valid": torch.ones(steps, 4, 1)})
    drawn = buffer.sample(9, torch.Generator().manual_seed(0))
    assert sorted(drawn["obs"][0, :, 0].tolist()) == [3, 4, 5, 6, 7]
    short = drawn["obs"][0, :, 0] >= 4
    assert drawn["valid"].sum(0)[short].eq(2).all() and drawn["valid"].sum(0)[~short].eq(3).all()
    again = TrialBuffer(5)
    again.load("x", buffer.tensors("x"), {"obs": 1, "valid": 1}, torch.device("cpu"))
    same = again.sample(9, torch.Generator().manual_seed(0))
    assert torch.equal(same["obs"], drawn["obs"])


def test_a_trial_with_a_reward_that_is_not_finite_teaches_nothing():
    run = inferring()
    episodes, _ = trial_of(run)
    episodes[0].rewards_MEH[1, 2, 3] = float("nan")
    beside = {"next_obs": [rollouts.next_obs_MEHO for rollouts in episodes]}
    trials = run.learner.whole_trials(run.learner.joined(episodes, beside))
    assert trials["valid"][:, E + 2].sum() == 0
    assert all(value.isfinite().all() for value in trials.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"belief": {"decode_rewards": False}}, "a belief has to predict something"),
        ({"latent_size": 0}, "learner.latent_size"),
        ({"belief": {"steps": -1}}, "learner.belief.steps"),
    ],
)
def test_bad_configs_are_refused(tiny_document, keys, message):
    document = {**tiny_document, "learner": {"name": "varibad", **keys}, "policy": {}}
    with pytest.raises(metarl.ConfigError, match=message):
        parse_config(document)


def test_parameters_go_round():
    run, other = inferring(), inferring()
    run.iterate()
    other.learner.load_meta_parameters(run.learner.meta_parameters)
    first, second = (flatten(r.learner.meta_parameters) for r in (run, other))
    assert torch.equal(first, second)


def test_trials_are_normalised_by_what_is_known_when_they_are_learned_from():
    normalization = {"observations": True, "rewards": True}
    run = inferring(normalization=normalization)
    run.iterate(2)
    kept = run.learner.buffer.sample(M * E, torch.Generator())
    seen = run.learner.seen(kept)
    normalizer, size = run.learner.normalizer, run.spec.obs_size
    torch.testing.assert_close(seen["obs"], normalizer.obs(kept["obs"]))
    torch.testing.assert_close(seen["inputs"][..., :size], seen["obs"])
    torch.testing.assert_close(seen["inputs"][1:12, :, -2], seen["rewards"][:11, :, 0])
    raw = run.seen[0].rewards_MEH
    assert any(torch.equal(kept["rewards"][:12, n, 0], row) for n in range(M * E) for row in raw[0])
