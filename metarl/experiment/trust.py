"""Which modules a file may import: only those that the user has imported or named himself.

A config can name modules: `env.id: module:EnvId-v0` and `env.plugin.apply: module:function`. One
that the user hands to a script is his own word. One inside a checkpoint is not, unless

- the module is named (`trust_imports=`, `--allow-import`) or imported already,
- or this user trained the run on this machine: the path of such a run and the hash of its config
  are kept outside of it, in the user's state folder.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from metarl.environments.config import EnvConfig
from metarl.errors import CheckpointError
from metarl.experiment.config import ExperimentConfig

# Some environments take the name of another one, `module:Name`
_NAMES_A_MODULE = re.compile(r"\s*[^\W\d][\w.]*\s*:\s*\w")
_STATE_HOME, _FILE = "XDG_STATE_HOME", "metarl/trained_here.json"


def named_modules(env: EnvConfig) -> dict[str, str]:
    """Modules that an environment's config imports, and the key that names each."""
    modules = {}
    if ":" in env.id:
        modules[env.id.rpartition(":")[0]] = "env.id"
    if env.plugin is not None and env.plugin.apply is not None:
        modules[env.plugin.apply.partition(":")[0]] = "env.plugin.apply"
    for wrapper in env.plugin.wrappers if env.plugin is not None else ():
        modules[wrapper.name.partition(":")[0]] = "env.plugin.wrappers"
        modules |= _in_arguments(wrapper.kwargs, "env.plugin.wrappers")
    return modules | _in_arguments(env.kwargs, "env.kwargs")


def _in_arguments(kwargs: Mapping[str, object], where: str) -> dict[str, str]:
    modules = {}
    for key, value in kwargs.items():
        for text in _texts(value):
            if _NAMES_A_MODULE.match(text):
                modules[text.partition(":")[0].strip()] = f"{where}.{key}"
    return modules


def _texts(value: object) -> Iterator[str]:
    """All texts in nested lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(list(pair))
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)


def require_trust(
    config: ExperimentConfig, folder: Path, trust_imports: Collection[str] = ()
) -> None:
    """Refuse a checkpoint whose config names a module that nobody here has named.

    Args:
        config: the checkpoint's.
        folder: where it lies.
        trust_imports: modules that the user names; each stands for those inside it too.

    Raises:
        CheckpointError: with the module, and how to allow it.
    """
    for module, key in named_modules(config.env).items():
        if _is_trusted(module, trust_imports) or _trained_here(config, folder):
            continue
        raise CheckpointError(
            f"{folder} wants to import {module!r} ({key}); if you trust it, import it first or "
            f"name it: trust_imports=[{module!r}], --allow-import {module} for scripts"
        )


def remember(config: ExperimentConfig, run_dir: Path) -> None:
    """Note that this user trains `config` in this run folder, if it names modules at all."""
    if not named_modules(config.env):
        return
    runs = _remembered()
    path = str(run_dir.resolve())
    runs[path] = sorted({*runs.get(path, []), _hash(config)})
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        new = _file().with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(runs, indent=1))
        os.replace(new, _file())
    except OSError:  # a machine without a home: modules have to be named
        return


def _is_trusted(module: str, trust_imports: Collection[str]) -> bool:
    named = any(module == name or module.startswith(f"{name}.") for name in trust_imports)
    own = module.partition(".")[0] not in sys.stdlib_module_names
    return named or (own and module in sys.modules)


def _trained_here(config: ExperimentConfig, folder: Path) -> bool:
    path = folder.resolve()
    runs = _remembered()
    return any(
        _hash(config) in runs.get(str(ancestor), [])
        for ancestor in (path, *path.parents[:2])  # RUN/checkpoints/iteration_N, RUN/best
    )


def _hash(config: ExperimentConfig) -> str:
    """Of what a config says of the environment; other keys import nothing."""
    document = json.dumps(config.env.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def _file() -> Path:
    home = os.environ.get(_STATE_HOME) or Path.home() / ".local/state"
    return Path(home) / _FILE


def _remembered() -> dict[str, list[str]]:
    try:
        runs = json.loads(_file().read_text())
    except (OSError, ValueError, RuntimeError):  # none yet, damaged, or no home
        return {}
    return runs if isinstance(runs, dict) else {}
