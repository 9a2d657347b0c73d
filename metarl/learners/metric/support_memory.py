"""Some transitions of each training task's newest support episodes.

Prototypes are made from them anew whenever the encoder has changed: where a task was placed by an
older encoder says nothing. Shapes: M tasks, E episodes, H steps, K tasks of the library, N
transitions kept, X numbers of a transition, D embedding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl.learners.metric.embedding import TransitionEncoder, mean_of
from metarl.params import Params

_TRANSITIONS, _KNOWN = "support.transitions", "support.known"


class SupportMemory:
    """N transitions of each of K tasks.

    Args:
        size: K.
        kept: N.
    """

    def __init__(self, size: int, kept: int) -> None:
        self._size, self._kept_steps = size, kept
        self._kept: Params = {}

    def keep(
        self,
        keys: Sequence[int],
        transitions_MEHX: Tensor,
        valid_MEH: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Draw N valid transitions with finite numbers of each task, with replacement."""
        if not self._kept:
            shape = (self._size, self._kept_steps, transitions_MEHX.shape[-1])
            empty = transitions_MEHX.new_zeros(shape)
            self._kept = {_TRANSITIONS: empty, _KNOWN: empty.new_zeros(self._size)}
        sound_MEH = valid_MEH & transitions_MEHX.isfinite().all(-1)
        for row, key in enumerate(keys):
            found = transitions_MEHX[row][sound_MEH[row]]
            if not len(found):
                continue
            drawn = torch.randint(
                len(found), (self._kept_steps,), generator=generator, device="cpu"
            )
            self._kept[_TRANSITIONS][key] = found[drawn.to(found.device)]
            self._kept[_KNOWN][key] = 1.0

    @torch.no_grad()
    def placed(self, encoder: TransitionEncoder) -> tuple[Tensor, Tensor]:
        """Mean embedding of each task (K, D), and whether it is known (K,)."""
        rows_KNX, known_K = self._kept[_TRANSITIONS], self._kept[_KNOWN]
        valid_K1N = known_K.view(-1, 1, 1).expand(-1, 1, rows_KNX.shape[1])
        sums_KD = encoder.sums(rows_KNX.unsqueeze(1), valid_K1N).squeeze(1)
        return mean_of(sums_KD, valid_K1N.sum((1, 2))), known_K

    def tensors(self) -> Params:
        """Everything, by name, for checkpoints."""
        return dict(self._kept)

    def load(self, tensors: Mapping[str, Tensor], numbers: int, device: torch.device) -> None:
        """Restore what `tensors` gave: transitions of so many `numbers`.

        Raises:
            ValueError: if they are not those of K tasks.
        """
        kept = {name: value.to(device).clone() for name, value in tensors.items()}
        if kept and (
            kept.keys() != {_TRANSITIONS, _KNOWN}
            or kept[_TRANSITIONS].shape != (self._size, self._kept_steps, numbers)
            or kept[_KNOWN].shape != (self._size,)
            or not (kept[_KNOWN] * (kept[_KNOWN] - 1.0) == 0).all()
        ):
            raise ValueError(f"its tensors are not those of {self._size} tasks")
        self._kept = kept
