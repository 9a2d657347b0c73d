import subprocess
import sys

import pytest
import torch

from metarl.estimators.value_baselines import (
    LinearBaseline,
    MLPBaseline,
    linear_features,
)

M, E, H, O = 2, 6, 20, 3  # noqa: E741
VALID = torch.ones(M, E, H, dtype=torch.bool)


def observations() -> torch.Tensor:
    return torch.randn(M, E, H, O, generator=torch.Generator().manual_seed(0))


def in_span(obs: torch.Tensor) -> torch.Tensor:
    """Targets that are exactly linear in the features, different for each task."""
    features = linear_features(obs, torch.arange(H))
    weights = torch.randn(M, features.shape[-1], generator=torch.Generator().manual_seed(1))
    return torch.einsum("mehf,mf->meh", features, weights.double())


def test_predicts_zero_before_the_first_fit():
    assert (LinearBaseline().values(observations()) == 0).all()


def test_recovers_targets_in_the_span_of_the_features(float64):
    obs = observations()
    targets = in_span(obs)
    errors = []
    for reg in (1e-5, 1e-12):
        baseline = LinearBaseline(reg, shrinkage=0.0)
        baseline.fit(obs, targets, VALID)
        errors.append(float((baseline.values(obs) - targets).abs().max()))
    assert errors[0] < 2e-3 and errors[1] < 1e-6


def test_equals_the_ridge_closed_form_per_task(float64):
    obs = observations()
    returns = noisy(obs)
    baseline = LinearBaseline(0.1, shrinkage=0.2)
    baseline.fit(obs, returns, VALID)
    features = linear_features(obs, torch.arange(H)).flatten(1, 2)
    for task in range(M):
        phi = features[task]
        squares = (phi - phi.mean(0)).square().sum(0)
        squares[-4:] = 0.0  # time is not shrunk
        gram = phi.T @ phi + torch.diag(0.1 + 0.2 * squares)
        expected = torch.linalg.solve(gram, phi.T @ returns[task].reshape(-1))
        torch.testing.assert_close(baseline.weights_MF[task], expected)


def test_weights_change_when_fitted_again():
    obs, returns = observations(), torch.ones(M, E, H)
    baseline = LinearBaseline()
    baseline.fit(obs, returns, VALID)
    before = baseline.weights_MF.clone()
    baseline.fit(obs, returns * torch.arange(H), VALID)
    assert not torch.allclose(before, baseline.weights_MF)


def test_invalid_steps_do_not_matter():
    obs, returns = observations(), torch.randn(M, E, H, generator=torch.Generator().manual_seed(3))
    valid = VALID.clone()
    valid[:, 0, 5:] = False
    first, second = LinearBaseline(), LinearBaseline()
    first.fit(obs, returns, valid)
    obs[:, 0, 5:], returns[:, 0, 5:] = 9.0, -100.0
    second.fit(obs, returns, valid)
    torch.testing.assert_close(first.weights_MF, second.weights_MF)


def test_features_clip_observations_at_ten():
    features = linear_features(torch.tensor([[25.0, -25.0]]), torch.tensor(100))
    expected = [10.0, -10.0, 100.0, 100.0, 1.0, 1.0, 1.0, 1.0]
    assert features.tolist() == [expected]


def test_survives_identical_observations():
    obs = torch.zeros(M, E, H, O)
    baseline = LinearBaseline(0.0)
    baseline.fit(obs, torch.ones(M, E, H), VALID)
    assert torch.isfinite(baseline.values(obs)).all()


def noisy(obs):
    """Returns that the features explain in part."""
    noise = torch.randn(obs.shape[:-1], generator=torch.Generator().manual_seed(4))
    return in_span(obs) + 2.0 * noise


def test_too_few_valid_steps_leave_time_alone(float64):
    """50 episodes of 4 steps and 44 features: the fit would reproduce what it is given."""
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(1, 15, 4, 20, generator=g)
    returns = 10.0 - torch.arange(4.0) + torch.randn(1, 15, 4, generator=g)
    valid = torch.ones(1, 15, 4, dtype=torch.bool)
    baseline = LinearBaseline()
    baseline.fit(obs, returns, valid)
    assert not baseline.full_M.any()
    residual = (returns - baseline.values(obs)).var()
    assert 0.7 < residual < 1.3  # what is left is the noise, not less
    assert (baseline.weights_MF[:, :-4] == 0).all()


def test_valid_steps_decide_not_nominal_ones(float64):
    obs = torch.randn(M, 30, 40, O, generator=torch.Generator().manual_seed(0))
    returns = obs[..., 0] - obs[..., 1].square()
    valid = torch.ones(M, 30, 40, dtype=torch.bool)
    baseline = LinearBaseline()
    baseline.fit(obs, returns, valid)
    assert baseline.full_M.all()
    valid[0, :, 1:] = False  # 30 valid steps of the first task, all at time 0
    valid[0, 9:] = False
    baseline.fit(obs, returns, valid)
    assert baseline.full_M.tolist() == [False, True]


def test_a_single_episode_has_no_baseline():
    baseline = LinearBaseline()
    obs = observations()[:, :1]
    baseline.fit(obs, torch.ones(M, 1, H), VALID[:, :1])
    assert (baseline.values(obs) == 0).all()


def test_mlp_baseline_is_fitted_and_per_task():
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(2, 10, 20, 3, generator=g)
    valid = torch.ones(2, 10, 20, dtype=torch.bool)
    returns = torch.stack([obs[0, ..., 0].tanh() * 5 + 3, -2 * obs[1, ..., 1].square()])
    baseline = MLPBaseline(seed=0)
    assert (baseline.values(obs) == 0).all()
    baseline.fit(obs, returns, valid)
    for task in range(2):
        left = (baseline.values(obs)[task] - returns[task]).var() / returns[task].var()
        assert left < 0.2
    alone = MLPBaseline(seed=0)
    alone.fit(obs[:1], returns[:1], valid[:1])
    torch.testing.assert_close(
        alone.values(obs[:1]), baseline.values(obs)[:1], atol=1e-3, rtol=1e-3
    )


@pytest.mark.slow
def test_large_fits_end_with_several_threads():
    """MKL's batched LU of 756 x 756 matrices hangs on two threads."""
    program = (
        "import torch; from metarl.estimators.value_baselines import LinearBaseline;"
        "torch.set_num_threads(2); generator = torch.Generator().manual_seed(0);"
        "obs = torch.randn(3, 4, 250, 376, generator=generator);"
        "valid = torch.ones(3, 4, 250, dtype=torch.bool);"
        "LinearBaseline().fit(obs, obs.sum(-1), valid)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_shrinkage_does_not_depend_on_a_features_zero(float64):
    g = torch.Generator().manual_seed(0)
    obs = 0.05 * torch.randn(1, 10, 100, 1, generator=g)
    valid, left = torch.ones(1, 10, 100, dtype=torch.bool), []
    for mean in (0.0, 1.4):
        baseline = LinearBaseline()
        returns = obs[..., 0]
        baseline.fit(obs + mean, returns, valid)
        left.append(float((baseline.values(obs + mean) - returns).var() / returns.var()))
    assert max(left) < 0.02
