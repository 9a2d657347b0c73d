import json
import shutil

import pytest
import torch

import metarl
from metarl.experiment.checkpoint import newest_whole, read_checkpoint
from metarl.experiment.checkpoint_writing import seal
from metarl.params import flatten


def test_run_folder_means_its_newest_checkpoint(tiny_run):
    newest = metarl.load(tiny_run)
    named = metarl.load(tiny_run / "checkpoints/iteration_000003")
    assert torch.equal(flatten(newest.meta_parameters), flatten(named.meta_parameters))
    assert newest.trained_on.env.id == "metarl/PointNavigation-v0"
    assert newest.spec == named.spec and newest.spec.action_low == (-1.0, -1.0)


def test_loaded_learner_acts_like_the_saved_one_to_the_bit(tiny_run, tmp_path):
    learner = metarl.load(tiny_run)
    first = metarl.evaluate(learner, "metarl/PointNavigation-v0", num_tasks=3, episodes=3)
    document = json.loads((tiny_run / "evaluation.json").read_text())
    again = metarl.evaluate(
        metarl.load(tiny_run), "metarl/PointNavigation-v0", num_tasks=3, episodes=3
    )
    assert (first.returns == again.returns).all()
    whole = metarl.evaluate(
        learner, "metarl/PointNavigation-v0", num_tasks=5, episodes=3, adaptation_steps=1
    )
    assert whole.returns.tolist() == document["returns"]


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "training.safetensors", "config.yaml", "metadata.json"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_damaged_checkpoints_are_refused(checkpoint, name, damage):
    path = checkpoint / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 3])
    else:
        path.write_bytes(b"\x00garbage{")
    with pytest.raises(metarl.CheckpointError, match=r"incomplete|damaged") as error:
        metarl.load(checkpoint)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(checkpoint):
    config = (checkpoint / "config.yaml").read_text()
    assert "- 8" in config
    (checkpoint / "config.yaml").write_text(config.replace("- 8", "- 9"))
    seal(checkpoint, json.loads((checkpoint / "metadata.json").read_text()))
    with pytest.raises(metarl.CheckpointError, match="does not fit its config"):
        metarl.load(checkpoint)


def test_missing_folders(tmp_path):
    with pytest.raises(metarl.CheckpointError, match="no run or checkpoint folder"):
        metarl.load(tmp_path / "nowhere")
    with pytest.raises(metarl.CheckpointError, match="no checkpoint in"):
        metarl.load(tmp_path)


def test_unfinished_checkpoint_is_not_seen(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "checkpoints/.writing_000009").mkdir()
    assert read_checkpoint(run).iteration == 3


def test_a_changed_file_is_noticed(checkpoint):
    path = checkpoint / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(metarl.CheckpointError, match=r"damaged: weights.safetensors is not what"):
        metarl.load(checkpoint)


def test_a_damaged_newest_checkpoint_names_the_one_before(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "checkpoints/iteration_000003/weights.safetensors").write_bytes(b"x")
    with pytest.raises(metarl.CheckpointError, match=r"the one before is .*iteration_000002"):
        metarl.load(run)
    assert newest_whole(run).iteration == 2
    shutil.rmtree(run / "checkpoints/iteration_000002")
    with pytest.raises(metarl.CheckpointError, match="damaged"):
        newest_whole(run)
    shutil.rmtree(run / "checkpoints")
    assert newest_whole(run) is None


def test_a_later_format_is_named(checkpoint):
    metadata = json.loads((checkpoint / "metadata.json").read_text())
    (checkpoint / "metadata.json").write_text(json.dumps({**metadata, "format": 99}))
    with pytest.raises(metarl.CheckpointError, match="has format 99, written by a later version"):
        metarl.load(checkpoint)
