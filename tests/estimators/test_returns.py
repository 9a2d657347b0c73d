import numpy as np
import pytest
import torch

from metarl.estimators.returns import (
    discounted_returns,
    generalized_advantages,
    normalize,
    step_weights,
)

GAMMA, LAMBDA, H = 0.9, 0.95, 6


def mask(*lengths: int) -> torch.Tensor:
    return torch.stack([torch.arange(H) < length for length in lengths]).unsqueeze(0)


def test_discounted_returns_by_hand():
    rewards = torch.tensor([[[1.0, 2.0, 4.0]]])
    valid = torch.tensor([[[True, True, False]]])
    expected = torch.tensor([[[1.0 + 0.5 * 2.0, 2.0, 0.0]]])
    torch.testing.assert_close(discounted_returns(rewards, valid, 0.5), expected)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("horizon", [1, 128, 300])
def test_discounted_returns_follow_their_recursion(float64, horizon, discount):
    rewards = torch.randn(2, 3, horizon, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(horizon) < torch.tensor([[[horizon], [200], [1]]])
    returns = discounted_returns(rewards, valid.expand(2, -1, -1), discount)
    running = torch.zeros(2, 3)
    for t in reversed(range(horizon)):
        running = rewards[..., t] * valid[..., t] + discount * running
        torch.testing.assert_close(returns[..., t], running)


def test_truncation_bootstraps_and_constant_value_has_no_advantage(float64):
    # r = 1 for ever is worth 1/(1-gamma): nothing to gain anywhere
    value = torch.full((1, 1, H), 1.0 / (1.0 - GAMMA))
    advantages = generalized_advantages(
        torch.ones(1, 1, H),
        value,
        value[..., 0],
        mask(H),
        torch.tensor([[False]]),
        GAMMA,
        LAMBDA,
    )
    torch.testing.assert_close(advantages, torch.zeros(1, 1, H))


def test_termination_does_not_bootstrap(float64):
    value = torch.full((1, 1, H), 1.0 / (1.0 - GAMMA))
    advantages = generalized_advantages(
        torch.ones(1, 1, H), value, value[..., 0], mask(H), torch.tensor([[True]]), GAMMA, LAMBDA
    )
    steps_left = torch.arange(H - 1, -1, -1)
    expected = -GAMMA / (1.0 - GAMMA) * (GAMMA * LAMBDA) ** steps_left
    torch.testing.assert_close(advantages[0, 0], expected)
    assert abs(float(advantages[0, 0, -1]) + 9.0) < 1e-12


def test_lambda_one_without_values_is_the_discounted_return(float64):
    rewards = torch.randn(2, 3, H, generator=torch.Generator().manual_seed(0))
    valid = mask(H, 4, 1).expand(2, -1, -1)
    advantages = generalized_advantages(
        rewards,
        torch.zeros(2, 3, H),
        torch.zeros(2, 3),
        valid,
        torch.zeros(2, 3, dtype=torch.bool),
        GAMMA,
        1.0,
    )
    torch.testing.assert_close(advantages, discounted_returns(rewards, valid, GAMMA))


def test_short_episode_in_a_batch_equals_the_same_episode_alone(float64):
    g = torch.Generator().manual_seed(1)
    rewards, values = (torch.randn(1, 2, H, generator=g) for _ in range(2))
    last, terminated = torch.randn(1, 2, generator=g), torch.tensor([[True, False]])
    batch = generalized_advantages(rewards, values, last, mask(H, 4), terminated, GAMMA, LAMBDA)
    alone = generalized_advantages(
        rewards[:, 1:, :4],
        values[:, 1:, :4],
        last[:, 1:],
        torch.ones(1, 1, 4, dtype=torch.bool),
        terminated[:, 1:],
        GAMMA,
        LAMBDA,
    )
    torch.testing.assert_close(batch[:, 1:, :4], alone)
    assert (batch[0, 1, 4:] == 0).all()


def test_what_comes_after_the_end_does_not_matter():
    rewards, values = torch.ones(1, 1, H), torch.ones(1, 1, H)
    args = (torch.ones(1, 1), mask(3), torch.tensor([[False]]), GAMMA, LAMBDA)
    before = generalized_advantages(rewards, values, *args)
    rewards[..., 3:], values[..., 3:] = 100.0, -50.0
    torch.testing.assert_close(before, generalized_advantages(rewards, values, *args))


def test_normalized_advantages_have_unit_standard_deviation_per_task(float64):
    advantages = 7.0 * torch.randn(3, 2, H, generator=torch.Generator().manual_seed(2)) + 5.0
    valid = mask(H, 2).expand(3, -1, -1)
    normalized, scale = normalize(advantages, valid)
    assert scale.shape == (3,)
    for task in range(3):
        values = normalized[task][valid[task]].numpy()
        assert abs(values.mean()) < 1e-12
        assert abs(np.std(values) - 1.0) < 1e-6  # the variance of 7x would give 1/7 instead
    assert (normalized[~valid] == 0).all()


def test_step_weights_sum_to_one_per_task():
    weights = step_weights(mask(H, 2).expand(2, -1, -1))
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))
    assert (weights[:, 1, 2:] == 0).all()
