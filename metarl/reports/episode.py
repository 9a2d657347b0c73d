"""One episode of an adapted policy, for those who watch it."""

from collections.abc import Iterator

import gymnasium

from metarl.adapted_policy import AdaptedPolicy


def title(steps: int) -> str:
    """What an episode after so many adaptation steps is called."""
    return f"after {steps} steps" if steps else "before"


def played(
    env: gymnasium.Env, policy: AdaptedPolicy, seed: int, sampled: bool = False
) -> Iterator[float]:
    """The return so far, at the start and after each step of the likeliest or sampled actions."""
    obs, _ = env.reset(seed=seed)
    total, state, reward, done = 0.0, None, 0.0, False
    yield total
    while not done:
        action, state = policy.predict(obs, state, deterministic=not sampled, reward=reward)
        obs, earned, terminated, truncated, _ = env.step(action)
        reward = float(earned)
        total, done = total + reward, terminated or truncated
        yield total
