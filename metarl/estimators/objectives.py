"""Inner objectives: surrogates whose gradient is the policy gradient, to be maximised.

They differ in their second derivatives, hence in the meta-gradient (Rothfuss et al. 2019,
arXiv 1810.06784; Foerster et al. 2018, arXiv 1802.05098). With Hessian of the expected return
H1 + H2 + H12 + H12^T: the score function has H2 only, the likelihood ratio H1 + H2 with low
variance, DiCE all of it.

Shapes: M tasks, E episodes per task, H steps. `weights_MEH` sums to one over a task's steps (see
`returns.step_weights`), or holds trajectory probabilities where an expectation is enumerated.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def likelihood_ratio(
    log_probs_MEH: Tensor,
    sampled_log_probs_MEH: Tensor,
    advantages_MEH: Tensor,
    weights_MEH: Tensor,
) -> Tensor:
    """sum w A pi/pi_sampled, ProMP's low variance curvature (LVC) objective: shape (M,)."""
    ratios = _log_ratios(log_probs_MEH, sampled_log_probs_MEH, weights_MEH).exp()
    return (weights_MEH * advantages_MEH * ratios).sum((1, 2))


def clipped_ratio(
    log_probs_MEH: Tensor,
    sampled_log_probs_MEH: Tensor,
    advantages_MEH: Tensor,
    weights_MEH: Tensor,
    clip: float,
) -> Tensor:
    """Sum w min(r A, clip(r, 1 - clip, 1 + clip) A), PPO's objective: shape (M,).

    Schulman et al. 2017, arXiv 1707.06347, eq. 7; r = pi/pi_sampled.
    """
    ratios = _log_ratios(log_probs_MEH, sampled_log_probs_MEH, weights_MEH).exp()
    return (weights_MEH * clipped_gains(ratios, advantages_MEH, clip)).sum((1, 2))


def clipped_gains(ratios: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """min(r A, clip(r, 1 - clip, 1 + clip) A) of every step, whatever the shape."""
    clipped = ratios.clamp(1.0 - clip, 1.0 + clip)
    return torch.minimum(ratios * advantages, clipped * advantages)


def score_function(
    log_probs_MEH: Tensor,
    sampled_log_probs_MEH: Tensor,
    advantages_MEH: Tensor,
    weights_MEH: Tensor,
) -> Tensor:
    """sum w A log pi, the plain REINFORCE surrogate of MAML's own code: shape (M,)."""
    return (weights_MEH * advantages_MEH * log_probs_MEH).sum((1, 2))


def dice(
    log_probs_MEH: Tensor,
    sampled_log_probs_MEH: Tensor,
    advantages_MEH: Tensor,
    weights_MEH: Tensor,
) -> Tensor:
    """Loaded DiCE with lambda = 1 (Farquhar et al. 2019, arXiv 1909.10549): shape (M,).

    sum_t w_t A_t (box(c_t) - box(c_{t-1})), c_t = sum_{k<=t} log pi_k, box(x) = exp(x - [x]), [x]
    the value of x at the sampling parameters.
    """
    log_ratios = _log_ratios(log_probs_MEH, sampled_log_probs_MEH, weights_MEH)
    until = log_ratios.cumsum(-1)
    before = until - log_ratios
    return (weights_MEH * advantages_MEH * (until.exp() - before.exp())).sum((1, 2))


def _log_ratios(log_probs: Tensor, sampled_log_probs: Tensor, weights: Tensor) -> Tensor:
    """Log pi/pi_sampled; zero where the weight is, so that no overflow meets a weight of zero."""
    return (log_probs - sampled_log_probs).masked_fill(weights == 0, 0.0)


OBJECTIVES: dict[str, Objective] = {
    "likelihood_ratio": likelihood_ratio,
    "score_function": score_function,
    "dice": dice,
}
