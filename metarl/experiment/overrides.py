"""`key.sub=value` on the command line, over what a file says."""

from collections.abc import Sequence

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
    document = OmegaConf.create(OmegaConf.to_container(loaded, resolve=False))
    assert isinstance(document, DictConfig)
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
    merged = OmegaConf.merge(document, OmegaConf.from_dotlist(settings))
    assert isinstance(merged, DictConfig)
    return merged


def _delete(document: DictConfig, key: str) -> None:
    parent, _, last = key.rpartition(".")
    holder = OmegaConf.select(document, parent) if parent else document
    if not isinstance(holder, DictConfig) or last not in holder:
        raise ConfigError(f"override '~{key}': the config has no key {key!r}")
    del holder[last]
