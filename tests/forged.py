"""Checkpoints as a hostile author would make them."""

import json

from metarl.experiment.checkpoint_writing import seal

MARK = "METARL_WAS_HERE"  # a folder that an attack leaves behind


def sealed(folder, **changes):
    """With hashes that fit: a hostile author has them too."""
    metadata = json.loads((folder / "metadata.json").read_text())
    seal(folder, {**metadata, **changes})


def name_module(folder, env):
    """Another `env` section in the checkpoint's config."""
    config = folder / "config.yaml"
    start, _, rest = ("\n" + config.read_text()).partition("\nenv:")
    config.write_text(
        f"{start}\nenv: {json.dumps(env)}\nlearner:{rest.partition(chr(10) + 'learner:')[2]}"
    )
    sealed(folder)
