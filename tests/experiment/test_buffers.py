"""Experience that resuming needs, from files of strangers: refused in a sentence."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from small_runs import SmallRun

import metarl
from metarl.experiment.checkpoint import BUFFERS, restore_buffers

LEARNERS = ["pearl", "varibad", "prototypes", "grbal", "rebal"]


@pytest.fixture(scope="module", params=LEARNERS)
def lived(request):
    run = SmallRun(request.param)
    run.iterate()
    return run.learner


def restore(learner, buffers, folder):
    save_file({name: value.contiguous() for name, value in buffers.items()}, folder / BUFFERS)
    restore_buffers(learner, SimpleNamespace(path=folder, metadata={"has_buffers": True}))


def test_what_was_kept_comes_back(lived, tmp_path):
    kept = {name: value.clone() for name, value in lived.buffers().items()}
    restore(lived, kept, tmp_path)
    again = lived.buffers()
    assert kept.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in kept.items())


@pytest.mark.parametrize("damage", ["missing", "nan", "shorter", "wide"])
def test_what_does_not_fit_is_refused(lived, tmp_path, damage):
    kept = {name: value.clone() for name, value in lived.buffers().items()}
    name = next(n for n, v in kept.items() if v.is_floating_point() and v.dim() > 1)
    if damage == "missing":
        del kept[name]
    elif damage == "nan":
        kept[name].fill_(float("nan"))
    elif damage == "shorter":
        kept[name] = kept[name][:-1]
    else:
        kept[name] = torch.cat([kept[name]] * 2, dim=-1)
    before = lived.buffers()
    with pytest.raises(metarl.CheckpointError, match="does not fit the learner") as error:
        restore(lived, kept, tmp_path)
    assert "\n" not in str(error.value)
    assert before.keys() == lived.buffers().keys()
