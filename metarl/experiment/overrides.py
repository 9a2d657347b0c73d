"""`key.sub=value` on the command line, over what a file says."""

import copy
from collections.abc import Sequence
from typing import cast

from omegaconf import DictConfig, OmegaConf

from metarl.errors import ConfigError

_DELETED, _NAME = "~", "name"


def overridden(loaded: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """What the file says, changed.

    `~key.sub` takes a key away. Another `name` for a mapping that has one (`learner.name=promp`)
    starts that mapping anew: its other keys belong to the old name.

    Raises:
        ConfigError: if an override has another form, or takes away what is not there.
    """
    document = copy.deepcopy(loaded)
    settings = []
    for override in overrides:
        if override.startswith(_DELETED):
            _delete(document, override.removeprefix(_DELETED))
        elif "=" in override:
            settings.append(override)
        else:
            raise ConfigError(f"override {override!r} must have the form key.sub=value or ~key.sub")
    for override in settings:
        key, _, value = override.partition("=")
        parent, _, last = key.rpartition(".")
        old = OmegaConf.select(document, key) if last == _NAME and parent else None
        if old is not None and str(old) != value:
            OmegaConf.update(document, parent, {}, merge=False)
    return cast(DictConfig, OmegaConf.merge(document, OmegaConf.from_dotlist(settings)))


def _delete(document: DictConfig, key: str) -> None:
    parent, _, last = key.rpartition(".")
    holder = OmegaConf.select(document, parent) if parent else document
    if not OmegaConf.is_dict(holder) or last not in holder:
        raise ConfigError(f"override '~{key}': the config has no key {key!r}")
    del holder[last]
