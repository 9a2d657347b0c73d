"""Value baselines, fitted for all tasks at once.

Shapes: M tasks, E episodes per task, H steps, O observation, F = 2 O + 4 features.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

_CLIP = 10.0
_TIME_UNIT = 100.0
_MAX_ATTEMPTS = 5
_TIME_FEATURES = 4  # t, t^2, t^3, 1: the last ones


def linear_features(obs: Tensor, step: Tensor) -> Tensor:
    """[o, o^2, t, t^2, t^3, 1] with o clipped to +-10 and t = step / 100, in float64.

    The features of rllab's LinearFeatureBaseline (Duan et al. 2016, arXiv 1604.06778), which
    MAML and ProMP use.

    Args:
        obs: shape (..., O).
        step: steps since the start of the episode, broadcastable to (...).
    """
    clipped = obs.double().clamp(-_CLIP, _CLIP)
    t = (step.double() / _TIME_UNIT).expand(obs.shape[:-1]).unsqueeze(-1)
    return torch.cat([clipped, clipped.square(), t, t**2, t**3, torch.ones_like(t)], dim=-1)


class ValueBaseline(Protocol):
    """Predicts returns from observations, per task.

    It is fitted to returns that stop at the end of an episode, whatever ended it: the value behind
    the last step is zero, and truncated episodes are not bootstrapped from it.
    """

    def fit(self, obs_MEHO: Tensor, returns_MEH: Tensor, valid_MEH: Tensor) -> None:
        """Fit to the returns of the valid steps of every task."""
        ...

    def values(self, obs_MEHO: Tensor) -> Tensor:
        """V at every step of every episode: shape (M, E, H)."""
        ...

    @property
    def full_M(self) -> Tensor:
        """Bool, for which tasks the observations were used: shape (M,)."""
        ...


class LinearBaseline:
    """Ridge regression of returns on `linear_features`, one solution per task.

    w = argmin ||Phi w - G||^2 + reg ||w||^2 + shrinkage sum_f ||Phi_f - mean Phi_f||^2 w_f^2 over
    the valid steps, the last sum over the features of observations. A few episodes of a robot that
    falls are no basis for a plain fit, and none at all with about as many valid steps as features:
    it would reproduce the returns it is given and leave noise as advantages. All features where
    they predict the other half of the episodes better, those of time alone elsewhere. A single
    episode has no other half and gets no baseline. Before the first fit every prediction is zero.

    Args:
        reg: for ill-conditioned features.
        shrinkage: relative to each feature's own variation; docs/baselines.md has the choice.

    Attributes:
        weights_MF: solutions, or None.
        full_M: bool, which tasks use all features.
    """

    def __init__(self, reg: float = 1e-5, shrinkage: float = 0.1) -> None:
        self.reg, self.shrinkage = reg, shrinkage
        self.weights_MF: Tensor | None = None
        self.full_M = torch.zeros(0, dtype=torch.bool)

    def fit(self, obs_MEHO: Tensor, returns_MEH: Tensor, valid_MEH: Tensor) -> None:
        """Solve for all tasks in batched calls; ill-conditioned ones with a larger `reg`."""
        episodes = obs_MEHO.shape[1]
        halves = [self._normal_equations(obs_MEHO, returns_MEH, valid_MEH, h) for h in (0, 1)]
        gram_MFF, moment_MF = (first + second for first, second in zip(*halves, strict=True))
        time = slice(gram_MFF.shape[-1] - _TIME_FEATURES, None)
        of_time_MF = torch.zeros_like(moment_MF)
        self.full_M = torch.zeros(len(moment_MF), dtype=torch.bool, device=moment_MF.device)
        self.weights_MF = of_time_MF
        if episodes == 1:
            return
        of_time_MF[:, time] = self._solve(gram_MFF[:, time, time], moment_MF[:, time])
        enough_M = valid_MEH.sum((1, 2)) > gram_MFF.shape[-1]
        if enough_M.any():
            errors = [self._held_out_error(halves, kept) for kept in (slice(None), time)]
            self.full_M = enough_M & (errors[0] <= errors[1])
            full_MF = self._solve(gram_MFF, moment_MF)
            self.weights_MF = torch.where(self.full_M.unsqueeze(-1), full_MF, of_time_MF)

    def _normal_equations(
        self, obs_MEHO: Tensor, returns_MEH: Tensor, valid_MEH: Tensor, half: int
    ) -> tuple[Tensor, Tensor]:
        """Phi^T Phi and Phi^T G of every second episode, per task, in float64."""
        grams, moments = [], []
        for obs, returns, valid in zip(obs_MEHO, returns_MEH, valid_MEH, strict=True):
            features = linear_features(obs[half::2], _steps(obs)) * valid[half::2].unsqueeze(-1)
            phi_NF = features.flatten(0, 1)
            grams.append(phi_NF.mT @ phi_NF)
            moments.append(phi_NF.mT @ returns[half::2].reshape(-1).double())
        return torch.stack(grams), torch.stack(moments)

    def _held_out_error(self, halves: Sequence[tuple[Tensor, Tensor]], kept: slice) -> Tensor:
        """Squared error of each half under the other's fit, less that of predicting zero: (M,)."""
        error_M = torch.zeros(len(halves[0][0]), dtype=torch.float64, device=halves[0][0].device)
        parts = [(gram[:, kept, kept], moment[:, kept]) for gram, moment in halves]
        for (gram, moment), other in zip(parts, reversed(parts), strict=True):
            weights = self._solve(*other)
            quadratic = torch.einsum("mf,mfg,mg->m", weights, gram, weights)
            error_M += quadratic - 2.0 * (weights * moment).sum(-1)
        return error_M

    def _solve(self, gram_MFF: Tensor, moment_MF: Tensor) -> Tensor:
        eye = torch.eye(gram_MFF.shape[-1], dtype=torch.float64, device=gram_MFF.device)
        # the last feature is one: its row holds the sums of the others, and the number of steps
        means_MF = gram_MFF[:, :, -1] / gram_MFF[:, -1:, -1].clamp(min=1.0)
        squares_MF = gram_MFF.diagonal(dim1=1, dim2=2) - gram_MFF[:, :, -1] * means_MF
        squares_MF[:, -_TIME_FEATURES:] = 0.0
        gram_MFF = gram_MFF + torch.diag_embed(self.shrinkage * squares_MF.clamp(min=0.0))
        reg_M11 = self.reg * torch.ones_like(gram_MFF[:, :1, :1])
        for _ in range(_MAX_ATTEMPTS):
            # not by LU: MKL's batched one hangs for several large matrices on two threads
            factor_MFF, info_M = torch.linalg.cholesky_ex(gram_MFF + reg_M11 * eye)
            weights = torch.cholesky_solve(moment_MF.unsqueeze(-1), factor_MFF).squeeze(-1)
            failed_M = (info_M != 0) | ~weights.isfinite().all(-1)
            if not failed_M.any():
                break
            reg_M11 = torch.where(failed_M[:, None, None], 10.0 * reg_M11, reg_M11)
        return torch.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0)

    def values(self, obs_MEHO: Tensor) -> Tensor:
        """V at every step of every episode, in the observations' dtype: shape (M, E, H)."""
        if self.weights_MF is None:
            return torch.zeros_like(obs_MEHO[..., 0])
        values = [
            linear_features(obs, _steps(obs)) @ weights
            for obs, weights in zip(obs_MEHO, self.weights_MF, strict=True)
        ]
        return torch.stack(values).to(obs_MEHO.dtype)


class MLPBaseline:
    """A tanh network per task on the observation and the time, fitted by Adam.

    Targets are normalised per task; the networks of all tasks are fitted in one stack, always
    from the same initial weights, so that equal rollouts give equal values.

    Args:
        seed: of the initial weights.
        hidden_size: of both hidden layers.
        steps: of Adam.
        learning_rate: of Adam.
    """

    def __init__(
        self, seed: int, hidden_size: int = 32, steps: int = 60, learning_rate: float = 0.02
    ) -> None:
        self._seed, self._hidden_size = seed, hidden_size
        self._steps, self._learning_rate = steps, learning_rate
        self.layers: list[tuple[Tensor, Tensor]] | None = None  # (M, I, J) and (M, 1, J)

    def fit(self, obs_MEHO: Tensor, returns_MEH: Tensor, valid_MEH: Tensor) -> None:
        """Minimise the squared error over the valid steps."""
        valid_MN = valid_MEH.flatten(1).to(obs_MEHO.dtype)
        targets_MN = returns_MEH.flatten(1)
        count_M1 = valid_MN.sum(1, keepdim=True).clamp(min=1.0)
        self._mean_M1 = (targets_MN * valid_MN).sum(1, keepdim=True) / count_M1
        centred_MN = (targets_MN - self._mean_M1) * valid_MN
        self._std_M1 = (centred_MN.square().sum(1, keepdim=True) / count_M1).sqrt() + 1e-8
        inputs = _timed(obs_MEHO, _steps(obs_MEHO)).flatten(1, 2)
        layers = self._initial(inputs)
        optimizer = torch.optim.Adam(itertools.chain(*layers), lr=self._learning_rate)
        with torch.enable_grad():
            for _ in range(self._steps):
                error_MN = _outputs(layers, inputs) - centred_MN / self._std_M1
                loss = (error_MN.square() * valid_MN / count_M1).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.layers = [(weight.detach(), bias.detach()) for weight, bias in layers]

    @property
    def full_M(self) -> Tensor:
        return torch.ones_like(self._mean_M1.squeeze(-1), dtype=torch.bool)

    def _initial(self, inputs_MNF: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Glorot-uniform weights, zero biases, the same for every task."""
        generator = torch.Generator("cpu").manual_seed(self._seed)
        sizes = (inputs_MNF.shape[-1], self._hidden_size, self._hidden_size, 1)
        layers = []
        for i, j in itertools.pairwise(sizes):
            bound = math.sqrt(6.0 / (i + j))
            unit = torch.rand(i, j, generator=generator, device="cpu")
            drawn = bound * (2.0 * unit.to(inputs_MNF) - 1.0)
            weight, bias = (
                value.repeat(len(inputs_MNF), 1, 1).requires_grad_()
                for value in (drawn, inputs_MNF.new_zeros(1, j))
            )
            layers.append((weight, bias))
        return layers

    def values(self, obs_MEHO: Tensor) -> Tensor:
        return self._predict(_timed(obs_MEHO, _steps(obs_MEHO)).flatten(1, 2)).view(
            obs_MEHO.shape[:-1]
        )

    def _predict(self, inputs_MNF: Tensor) -> Tensor:
        if self.layers is None:
            return torch.zeros_like(inputs_MNF[..., 0])
        with torch.no_grad():
            return _outputs(self.layers, inputs_MNF) * self._std_M1 + self._mean_M1


def _outputs(layers: list[tuple[Tensor, Tensor]], inputs_MNF: Tensor) -> Tensor:
    hidden = inputs_MNF
    for weight, bias in layers[:-1]:
        hidden = torch.baddbmm(bias, hidden, weight).tanh()
    weight, bias = layers[-1]
    # no product with a column: of a single task its last bits are others than among several
    return (hidden * weight.mT).sum(-1) + bias.squeeze(-1)


def _timed(obs: Tensor, step: Tensor) -> Tensor:
    time = (step / _TIME_UNIT).to(obs.dtype).expand(obs.shape[:-1]).unsqueeze(-1)
    return torch.cat([obs.clamp(-_CLIP, _CLIP), time], dim=-1)


def _steps(obs_EHO: Tensor) -> Tensor:
    return torch.arange(obs_EHO.shape[-2], device=obs_EHO.device)
