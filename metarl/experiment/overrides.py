"""`key.sub=value` on the command line, over what a file says."""

import copy
from collections.abc import Sequence
from typing import cast

from omegaconf import DictConfig, OmegaConf

from metarl.errors import ConfigError

_DELETED, _NAME, _ENV = "~", "name", "env"


def overridden(loaded: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """What the file says, changed.

    `~key.sub` takes a key away. Another `name` for a mapping that has one (`learner.name=promp`)
    starts that mapping anew: its other keys belong to the old name (but for arguments of `env`).
    Otherwise overrides count in their order.

    Raises:
        ConfigError: if an override has another form, or takes away what is not there.
    """
    document = copy.deepcopy(loaded)
    for override in overrides:
        if not override.startswith(_DELETED):
            _start_anew(document, override)
    for override in overrides:
        if override.startswith(_DELETED):
            _delete(document, override.removeprefix(_DELETED))
        else:
            document = cast(
                DictConfig, OmegaConf.merge(document, OmegaConf.from_dotlist([override]))
            )
    return document


def _start_anew(document: DictConfig, override: str) -> None:
    """Empty the section whose `name` the override changes."""
    key, equals, _ = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r} must have the form key.sub=value or ~key.sub")
    parent, _, last = key.rpartition(".")
    # an environment's arguments are its own: a `name` among them names no section
    if last != _NAME or not parent or key.split(".")[0] == _ENV:
        return
    old, new = (OmegaConf.select(d, key) for d in (document, OmegaConf.from_dotlist([override])))
    if old is not None and old != new:
        OmegaConf.update(document, parent, {}, merge=False)


def _delete(document: DictConfig, key: str) -> None:
    parent, _, last = key.rpartition(".")
    holder = OmegaConf.select(document, parent) if parent else document
    if not OmegaConf.is_dict(holder) or last not in holder:
        raise ConfigError(f"override '~{key}': the config has no key {key!r}")
    del holder[last]
