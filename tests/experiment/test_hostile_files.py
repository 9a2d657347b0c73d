"""Files of strangers: read as data, refused in a sentence; nothing executed, nothing written."""

import json
import os
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from forged import MARK, sealed
from safetensors.torch import load_file, save_file

import metarl
import metarl.experiment.config


class Payload:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (MARK,)


def pickled(folder):
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Payload()))


def torch_pickled(folder):
    torch.save(Payload(), folder / "weights.safetensors")


def object_tag(folder):
    text = f"!!python/object/apply:os.mkdir ['{MARK}']\n"
    (folder / "config.yaml").write_text(text)


def tagged_value(folder):
    config = folder / "config.yaml"
    text = config.read_text().replace("seed: 0", f"seed: !!python/object/apply:os.mkdir [{MARK}]")
    config.write_text(text)


def interpolation(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: ${oc.env:HOME}"))


def deep_yaml(folder):
    (folder / "config.yaml").write_text("a: " + "[" * 5000 + "]" * 5000)


def header(folder, shape, size):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    text = json.dumps({"layer_0.weight": entry}).encode()
    content = struct.pack("<Q", len(text)) + text + b"\0" * 16
    (folder / "weights.safetensors").write_bytes(content)


def absurd_shape(folder):
    header(folder, [2**40, 2**20], 2**62)


def absurd_header(folder):
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def nan_weights(folder):
    path = folder / "weights.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, path)


def huge_weights(folder):
    path = folder / "weights.safetensors"
    save_file({name: value.double() * 1e300 for name, value in load_file(path).items()}, path)


def link(folder):
    path = folder / "weights.safetensors"
    outside = folder.parent / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def absurd_network(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("  - 8\n", "  - 100000000\n  - 100000000\n"))


def large_network(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("  - 8\n", "  - 20000\n  - 20000\n"))


def negative_network(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("  - 8\n", "  - -8\n"))


ATTACKS = [
    (pickled, r"damaged"),
    (torch_pickled, r"damaged"),
    (object_tag, r"damaged: cannot read"),
    (tagged_value, r"damaged: cannot read"),
    (interpolation, r"must hold plain values: an interpolation"),
    (deep_yaml, r"damaged"),
    (absurd_shape, r"damaged"),
    (absurd_header, r"damaged"),
    (nan_weights, r"is not finite"),
    (huge_weights, r"has type torch.float64, expected torch.float32"),
    (link, r"weights.safetensors is a link, not a file"),
    (absurd_network, r"need [\d,.]+ GiB of memory or more; the file of weights has"),
    (large_network, r"networks of sizes .* need 1.5 GiB .* the file of weights has"),
    (negative_network, r"must be greater than 0"),
]


@pytest.mark.parametrize(("attack", "message"), ATTACKS, ids=[a.__name__ for a, _ in ATTACKS])
def test_hostile_checkpoints_are_refused(checkpoint, attack, message):
    attack(checkpoint)
    sealed(checkpoint)
    before = snapshot(checkpoint.parent)
    with pytest.raises(metarl.UserError, match=message) as error:
        metarl.load(checkpoint)
    assert len(str(error.value)) < 1500
    assert snapshot(checkpoint.parent) == before


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {"obs_size": 10**9, "action_low": [-1.0], "action_high": [1.0]}},
        {"spec": {"obs_size": "x", "action_low": [-1.0], "action_high": [1.0]}},
        {"spec": {"obs_size": 2, "action_low": [2.0], "action_high": [1.0]}},
        {"spec": {"obs_size": 2, "action_low": [float("nan")], "action_high": [1.0]}},
        {"spec": {"obs_size": 2, "action_low": [], "action_high": []}},
        {"spec": {"obs_size": 2, "action_low": 0.0, "action_high": 1.0}},
        {"spec": {"obs_size": 2, "evil": 1, "action_low": [0.0], "action_high": [1.0]}},
        {"spec": 5},
        {"spec": {"obs_size": 2.0, "action_low": [-1.0], "action_high": [1.0]}},
        {"spec": {"obs_size": 2, "action_low": ["-1.0"], "action_high": [1.0]}},
        {"iteration": "many"},
        {"iteration": -3},
        {"env_steps": None},
        {"env_steps": -5},
        {"seconds": -1.0},
        {"seconds": "1"},
        {"seconds": True},
        {"versions": [1]},
        {"iteration": 1e400},
        {"sha256": []},
        {"format": "new"},
    ],
    ids=str,
)
def test_hostile_metadata_is_refused(checkpoint, changes):
    sealed(checkpoint)
    path = checkpoint / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(metarl.CheckpointError, match="damaged"):
        metarl.load(checkpoint)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", ".."])
def test_names_that_climb_out_of_the_folder_are_refused(checkpoint, name):
    (checkpoint.parent / "outside").write_text("x")
    path = checkpoint / "metadata.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "sha256": {**document["sha256"], name: "0"}}))
    with pytest.raises(metarl.CheckpointError, match="is no file of this folder"):
        metarl.load(checkpoint)


def test_a_pipe_does_not_hang(checkpoint):
    os.mkfifo(checkpoint / "x")
    path = checkpoint / "metadata.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "sha256": {**document["sha256"], "x": "0"}}))
    with pytest.raises(metarl.CheckpointError, match="is no file of this folder"):
        metarl.load(checkpoint)


def test_deeply_nested_metadata_is_refused(checkpoint):
    (checkpoint / "metadata.json").write_text("[" * 100_000)
    with pytest.raises(metarl.CheckpointError, match="damaged"):
        metarl.load(checkpoint)


@pytest.mark.parametrize("name", ["../../x", "/etc", "point_navigation/../../x", ""])
def test_zoo_names_do_not_climb(name):
    with pytest.raises(metarl.CheckpointError, match="the zoo has no"):
        metarl.load(f"zoo:{name}")


def test_every_byte_of_a_file_counts(checkpoint):
    """A hundred random changes of one byte, in any file: all noticed."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in checkpoint.iterdir() if path.name != "metadata.json")
    for _ in range(100):
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(metarl.CheckpointError):
            metarl.load(checkpoint)
        path.write_bytes(content)
    metarl.load(checkpoint)
