"""A policy as an ONNX file.

Shapes: N observations, O observation, A action.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.errors import ConfigError
from metarl.policies.acting_module import ActingModule
from metarl.policies.arrays import to_array

OBS, ACTION, REWARD, FIRST = "obs", "previous_action", "previous_reward", "first"
ACTIONS, NEXT = "action", "next_"
_OPSET = 18


class _IntoSpace(nn.Module):
    """Actions as an environment takes them."""

    def __init__(self, acting: ActingModule, space: spaces.Space) -> None:
        super().__init__()
        self.acting, self._space = acting, space

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        actions, *memory = self.acting(*inputs)
        if self.acting.memory:  # it remembers what it chose, not what it was cut to
            memory = [actions, *memory]
        if isinstance(self._space, spaces.Discrete):
            return (actions[:, 0].long() + int(self._space.start), *memory)
        low, high = (
            torch.as_tensor(bound, dtype=actions.dtype)
            for bound in (self._space.low, self._space.high)  # type: ignore[attr-defined]
        )
        return (actions.clamp(low, high), *memory)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on packages that no policy here needs."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def write_onnx(acting: ActingModule, spec: Spec, space: spaces.Space, path: str | Path) -> None:
    """Write the file, whole or not at all.

    Its input is "obs" (N, O), its output "action". A policy with a memory takes "previous_action"
    (N, A), "previous_reward" (N, 1) if it acts on rewards, and "first" (N, 1), 1 in the first step
    of an episode, where these do not matter, and the parts of its memory. It gives action and parts
    back as "next_...". Parts that are not given are those after adaptation.

    Raises:
        ConfigError: if the file's name or what it needs is not there.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"the file must end in .onnx, got {path.name!r}")
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"it needs {error.name}: pip install metarl-robotics[onnx]") from None
    rows = 1 if acting.memory else 2  # a batch of one would stay one
    names, example = [OBS], [torch.zeros(rows, spec.obs_size)]
    if acting.memory:
        rewards = [REWARD] if acting.acts_on_rewards else []
        names += [ACTION, *rewards, FIRST]
        example += [torch.ones(1, n) for n in (spec.action_size, *(1 for _ in rewards), 1)]
    inputs = [*names, *acting.memory]
    given_back = [*([ACTION] if acting.memory else []), *acting.memory]
    example += [part.cpu() for part in acting.memory.values()]
    batch = torch.export.Dim("N")
    with torch.no_grad(), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # torch uses what it deprecates itself
        program = torch.onnx.export(
            _IntoSpace(acting, space).eval().cpu(),
            tuple(example),
            input_names=inputs,
            output_names=[ACTIONS, *(f"{NEXT}{name}" for name in given_back)],
            # a memory belongs to one robot
            dynamic_shapes=None if acting.memory else (({0: batch},),),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for name, part in acting.memory.items():  # what is not given is as adaptation left it
        model.graph.initializer.append(onnx.numpy_helper.from_array(to_array(part), name))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    onnx.save(model, temporary)
    os.replace(temporary, path)
