"""Acting on a sampled latent.

Shapes: M tasks, E episodes, O observation, A action, L latent, N numbers of noise.
"""

import numpy as np
import torch

from metarl.learners.inference.belief import LatentBelief
from metarl.policies.actors import ActionStep, Percept
from metarl.policies.arrays import to_array, to_tensor, whole_rows
from metarl.policies.networks.relu_mlp import ArrayMLP
from metarl.policies.squashed import ActionRange


class LatentActor:
    """Acts on a latent that it draws from the belief at the start of each episode."""

    def __init__(self, choose: ArrayMLP, actions: ActionRange, belief: LatentBelief) -> None:
        self._choose, self._actions, self._belief = choose, actions, belief
        mean, variance = (to_array(m)[:, None] for m in belief.moments())
        self._mean_M1L, self._std_M1L = mean, np.sqrt(variance)
        kept = belief.latents_MEL
        self._latents = None if kept is None else to_array(kept)

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        shape, size = seen.first_ME.shape, self._mean_M1L.shape[-1]
        latents_MEL = np.broadcast_to(self._mean_M1L, (*shape, size))
        drawn, noise_MEA = latents_MEL, None
        if noise_MEN is not None:
            noise_MEA = np.ascontiguousarray(noise_MEN[..., :-size])
            drawn = latents_MEL + self._std_M1L * noise_MEN[..., -size:]
        if self._latents is not None and self._latents.shape == drawn.shape:
            latents_MEL = self._latents
        self._latents = np.where(seen.first_ME[..., None], drawn, latents_MEL)
        self._latents = self._latents.astype(seen.obs_MEO.dtype)
        inputs = np.concatenate([seen.obs_MEO, self._latents], axis=-1)
        rows = whole_rows(inputs.reshape(-1, inputs.shape[-1]))
        outputs = to_tensor(self._choose(rows))
        means = outputs.chunk(2, dim=-1)[0]
        noise = torch.zeros_like(means)
        if noise_MEA is not None:
            noise_NA = whole_rows(noise_MEA.reshape(-1, means.shape[-1]))
            noise = to_tensor(noise_NA).to(means)
        actions, log_probs = self._actions.sample(outputs, noise)
        count = int(np.prod(shape))
        return ActionStep(
            to_array(actions[:count]).reshape(*shape, -1),
            to_array(log_probs[:count]).reshape(shape),
            {"latents": self._latents},
        )

    @property
    def state(self) -> LatentBelief:
        belief = self._belief
        latents = None if self._latents is None else to_tensor(self._latents)
        return LatentBelief(belief.precision_ML, belief.weighted_ML, latents)
