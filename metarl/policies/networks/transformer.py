"""A transformer as the memory of a trial: causal attention over its last W steps.

Vaswani et al. 2017, arXiv 1706.03762, with the norms before the layers. How long ago a step was is
told by a bias on the attention, the same at every time, one slope per head (Press et al. 2022,
arXiv 2108.12409), so that trials may go on for ever: a window of W steps slides over them.
The memory of a sequence is its keys and values, step t in slot t modulo W, and the number of steps.
Shapes: T steps, N sequences, F inputs, D width, L layers, G heads of d = D / G, W slots in B blocks
of S.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from metarl.config_model import ConfigModel
from metarl.policies.arrays import to_array
from metarl.policies.networks.memory_core import ArrayCore, MemoryCore
from metarl_envs.memory import require_memory

_WIDER = 2  # the layer between two linear maps, in widths
_EPS = 1e-5
_BLOCK = (16, 64)  # slots that are summed at once: at least, at most


class TransformerConfig(ConfigModel):
    """A transformer's shape, beside its width."""

    layers: PositiveInt = 1
    """Blocks of attention and of a two-layer network."""
    heads: PositiveInt = 2
    """Of attention, in each block."""


class _Layer(nn.Module):
    """Attention and a network on each step, both added to what they see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        linear = nn.utils.skip_init
        self.norm, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attended = linear(nn.Linear, width, 3 * width)
        self.out = linear(nn.Linear, width, width)
        self.up = linear(nn.Linear, width, _WIDER * width)
        self.down = linear(nn.Linear, _WIDER * width, width)


class _Transformer(nn.Module):
    def __init__(self, input_size: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.utils.skip_init(nn.Linear, input_size, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, _EPS)


class TransformerCore(MemoryCore):
    """Causal attention over the last `window` steps.

    Args:
        config: see there.
        input_size: F.
        width: D.
        window: W.
    """

    module: _Transformer
    parts = ("keys", "values", "steps")

    def __init__(self, config: TransformerConfig, input_size: int, width: int, window: int) -> None:
        assert width % config.heads == 0
        numbers = (input_size + config.layers * (4 + 2 * _WIDER) * width) * width
        require_memory(f"transformers of width {width}", 4 * numbers)
        self.module = _Transformer(input_size, width, config.layers)
        self.input_size, self.width, self.window = input_size, width, window
        self.output_size = width
        self._layers, self.heads = config.layers, config.heads
        self._slopes = [2.0 ** (-8.0 * (g + 1) / config.heads) for g in range(config.heads)]

    def initialise(self, generator: torch.Generator) -> None:
        """Fan-in uniform weights, smaller where they are added to the stream, no biases."""
        with torch.no_grad():
            for name, value in self.module.named_parameters():
                if "norm" in name:
                    value.fill_(1.0 if name.endswith("weight") else 0.0)
                elif name.endswith("bias"):
                    value.zero_()
                else:
                    added = name.split(".")[-2] in ("out", "down")
                    bound = value.shape[1] ** -0.5 * ((2 * self._layers) ** -0.5 if added else 1.0)
                    drawn = torch.rand(value.shape, generator=generator) * 2.0 - 1.0
                    value.copy_(bound * drawn)

    def empty(self, count: int) -> list[Tensor]:
        like, size = self.module.embed.weight, self.width // self.heads
        numbers = 2.0 * count * self._layers * self.window * self.width
        what = f"attention over {self.window:,} steps of {count:,} episodes"
        require_memory(what, numbers * like.element_size())
        shape = (count, self._layers, self.heads, self.window, size)
        steps = torch.zeros(count, 1, dtype=torch.int64, device=like.device)
        return [like.new_zeros(shape), like.new_zeros(shape), steps]

    def run(self, inputs_TNF: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        hidden_NTD, keys, values = self._attend(inputs_TNF.transpose(0, 1), memory)
        return hidden_NTD.transpose(0, 1), self._written(memory, keys, values)

    def whole(self, inputs_TNF: Tensor) -> Tensor:
        """What it gives at each step of sequences from their beginning: shape (T, N, D)."""
        return self._attend(inputs_TNF.transpose(0, 1), None)[0].transpose(0, 1)

    def _attend(
        self, inputs_NTF: Tensor, memory: list[Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What it gives, and new keys and values: shapes (N, T, D), (N, L, G, T, d) twice."""
        bias = self._bias(inputs_NTF, memory)
        stream, written = torch.tanh(self.module.embed(inputs_NTF)), []
        for index, layer in enumerate(self.module.layers):
            assert isinstance(layer, _Layer)
            parts = layer.attended(layer.norm(stream)).unflatten(-1, (3, self.heads, -1))
            queries, keys, values = parts.permute(2, 0, 3, 1, 4)
            written.append((keys, values))
            if memory is not None:
                keys = torch.cat([memory[0][:, index], keys], dim=2)
                values = torch.cat([memory[1][:, index], values], dim=2)
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, bias)
            stream = stream + layer.out(mixed.transpose(1, 2).flatten(2))
            stream = stream + layer.down(torch.relu(layer.up(layer.norm2(stream))))
        keys, values = (torch.stack(parts, dim=1) for parts in zip(*written, strict=True))
        return self.module.norm(stream), keys, values

    def _bias(self, inputs_NTF: Tensor, memory: list[Tensor] | None) -> Tensor:
        """Added to the attention of each step to each slot and new step: (N or 1, G, T, W + T)."""
        times_T = torch.arange(inputs_NTF.shape[1], device=inputs_NTF.device)
        ages = (times_T[:, None] - times_T)[None]
        if memory is not None:
            steps_N11 = memory[2][:, :, None]
            slots_W = torch.arange(self.window, device=inputs_NTF.device)
            # the last step before the new ones that lies in a slot, counted from the first new one
            before_N1W = (steps_N11 - 1 - slots_W) % self.window + 1
            old = times_T[:, None] + before_N1W
            old = torch.where(before_N1W > steps_N11, -1, old)
            ages = torch.cat([old, ages.expand(len(old), -1, -1)], dim=2)
        slopes_G = torch.tensor(self._slopes, dtype=torch.float64, device=ages.device)
        seen = (ages >= 0) & (ages < self.window)
        bias = (-slopes_G[:, None, None] * ages[:, None]).masked_fill(~seen[:, None], -math.inf)
        return bias.to(inputs_NTF.dtype)

    def _written(self, memory: list[Tensor], keys: Tensor, values: Tensor) -> list[Tensor]:
        """The memory with the new steps in it."""
        steps_N1 = memory[2]
        end_N1 = steps_N1 + keys.shape[3]
        slots_W = torch.arange(self.window, device=steps_N1.device)
        last_NW = end_N1 - 1 - (end_N1 - 1 - slots_W) % self.window  # step that ends in each slot
        fresh_NW = last_NW >= steps_N1
        shape = (-1, self._layers, self.heads, -1, self.width // self.heads)
        index = (last_NW - steps_N1).clamp(min=0)[:, None, None, :, None].expand(shape)
        parts = []
        for old, new in ((memory[0], keys), (memory[1], values)):
            chosen = new.gather(3, index)
            parts.append(torch.where(fresh_NW[:, None, None, :, None], chosen, old))
        return [*parts, end_N1]

    def on_arrays(self) -> ArrayCore:
        return _Step(self.module, self.heads, self._slopes, self.window)


class _Step:
    """One step in NumPy: keys and values are written in place.

    Sums over slots are those of blocks of fixed size, added one after another: slots that are not
    in use then add exact zeros, and a sequence's bits do not depend on how long others are.
    """

    def __init__(
        self, module: _Transformer, heads: int, slopes: Sequence[float], window: int
    ) -> None:
        self._embed, self._norm = _linear(module.embed), _norm(module.norm)
        self._layers = [
            {
                name: _norm(m) if isinstance(m, nn.LayerNorm) else _linear(m)
                for name, m in layer.named_children()
            }
            for layer in module.layers
        ]
        self.heads, self._window, self._block = heads, window, _block_of(window)
        self._slopes_G1 = np.array(slopes)[:, None]

    def __call__(
        self, inputs: np.ndarray, memory: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        keys, values, steps_N1 = memory
        longest = min(int(steps_N1.max()) + 1, self._window)
        blocks = -(-longest // self._block)
        used = blocks * self._block
        in_blocks = (len(inputs), self.heads, blocks, self._block, -1)
        together = bool((steps_N1 == steps_N1[0]).all())
        where = self._where(steps_N1, together)
        bias = self._bias(steps_N1[:1] if together else steps_N1, used).astype(inputs.dtype)
        stream = np.tanh(inputs @ self._embed[0] + self._embed[1])
        for index, layer in enumerate(self._layers):
            attended = _normed(stream, layer["norm"]) @ layer["attended"][0] + layer["attended"][1]
            queries, new_keys, new_values = (
                part.reshape(len(inputs), self.heads, -1) for part in np.split(attended, 3, axis=1)
            )
            own_keys, own_values = keys[:, index], values[:, index]
            own_keys[where], own_values[where] = new_keys, new_values
            queries *= queries.shape[-1] ** -0.5
            keys_NGBSd = own_keys[:, :, :used].reshape(in_blocks)
            scores = np.matmul(keys_NGBSd, queries[:, :, None, :, None])[..., 0]
            scores += bias.reshape(-1, *in_blocks[1:4])
            scores -= scores.max((2, 3), keepdims=True)
            np.exp(scores, out=scores)
            mixed = _added(
                np.matmul(scores[..., None, :], own_values[:, :, :used].reshape(in_blocks))
            )
            mixed /= _added(scores.sum(-1, keepdims=True)[..., None])
            stream = stream + mixed.reshape(len(inputs), -1) @ layer["out"][0] + layer["out"][1]
            wide = _normed(stream, layer["norm2"]) @ layer["up"][0] + layer["up"][1]
            np.maximum(wide, 0.0, out=wide)
            stream = stream + wide @ layer["down"][0] + layer["down"][1]
        return _normed(stream, self._norm), [keys, values, steps_N1 + 1]

    def _where(self, steps_N1: np.ndarray, together: bool) -> tuple[slice | np.ndarray | int, ...]:
        """Index of the slot of this step, in keys (N, G, W, d)."""
        if together:
            return slice(None), slice(None), int(steps_N1[0, 0]) % self._window
        return np.arange(len(steps_N1)), slice(None), steps_N1[:, 0] % self._window

    def _bias(self, steps_N1: np.ndarray, used: int) -> np.ndarray:
        """Added to the attention to each used slot: shape (N or 1, G, used)."""
        ages = (steps_N1 - np.arange(used)) % self._window
        bias: np.ndarray = -self._slopes_G1 * ages[:, None]
        bias[np.broadcast_to((ages > steps_N1)[:, None], bias.shape)] = -math.inf
        return bias


def _block_of(window: int) -> int:
    """The largest part of the window that divides it and lies within the bounds, or all of it."""
    least, most = _BLOCK
    return next((s for s in range(most, least - 1, -1) if window % s == 0), window)


def _added(parts_NGB1d: np.ndarray) -> np.ndarray:
    """Sum over blocks, one after another: shape (N, G, 1, d)."""
    total = parts_NGB1d[:, :, 0]
    for block in range(1, parts_NGB1d.shape[2]):
        total = total + parts_NGB1d[:, :, block]
    return total


def _linear(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(layer, nn.Linear)
    return to_array(layer.weight).T.copy(), to_array(layer.bias).copy()


def _norm(layer: nn.LayerNorm) -> tuple[np.ndarray, np.ndarray]:
    return to_array(layer.weight).copy(), to_array(layer.bias).copy()


def _normed(values: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    centred /= np.sqrt(variance + _EPS)
    centred *= weights[0]
    centred += weights[1]
    return centred
