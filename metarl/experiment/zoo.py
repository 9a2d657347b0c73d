"""Pretrained learners: checkpoint folders inside the package, each with a card.

zoo/half_cheetah_vel/rl2/
    the files of a checkpoint, without what only resuming needs
    card.json     environment, learner, seed, cost, command, results, hash of the weights
"""

import json
from pathlib import Path
from typing import Any

from metarl.errors import CheckpointError, did_you_mean
from metarl.experiment.checkpoint import file_hash

FOLDER = Path(__file__).parents[1] / "zoo"
_PREFIX = "zoo:"


def zoo_names() -> list[str]:
    """Names of the pretrained learners, such as "half_cheetah_vel/rl2"."""
    return sorted(str(card.parent.relative_to(FOLDER)) for card in FOLDER.glob("*/*/card.json"))


def read_card(name: str) -> dict[str, Any]:
    """The card of a pretrained learner.

    Raises:
        CheckpointError: if there is none of this name.
    """
    names = zoo_names()
    if name not in names:
        raise CheckpointError(
            f"the zoo has no {name!r}{did_you_mean(name, names)}; "
            f"it has: {', '.join(names) or 'nothing'}"
        )
    try:
        card: dict[str, Any] = json.loads((FOLDER / name / "card.json").read_text())
    except ValueError as error:
        raise CheckpointError(f"the card of zoo:{name} is damaged: {error}") from None
    return card


def resolve(path: str | Path) -> Path:
    """The folder that a path names, or "zoo:NAME", whose weights are checked against the card.

    Raises:
        CheckpointError: if the zoo has no such learner, or its weights are not those of the card.
    """
    if not str(path).startswith(_PREFIX):
        return Path(path)
    name = str(path).removeprefix(_PREFIX)
    card = read_card(name)
    weights = FOLDER / name / "weights.safetensors"
    if not weights.is_file() or file_hash(weights) != card.get("weights_sha256"):
        raise CheckpointError(f"the weights of zoo:{name} are not those of its card")
    return FOLDER / name
