"""A comparison as a file: methods, baselines, what is the same for all, and over which seeds."""

from pathlib import Path
from typing import Annotated, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, field_validator
from yaml import YAMLError

from metarl.config_model import ConfigModel
from metarl.errors import ConfigError
from metarl.experiment.config import ExperimentConfig, load_config
from metarl_envs.errors import one_line

# Of run folders: it may not lead out of theirs
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]


class MethodConfig(ConfigModel):
    """A method of a comparison."""

    config: str
    """YAML file, from the folder of the comparison."""
    set: tuple[str, ...] = ()
    """Overrides, such as env.observe_task=true."""


class ScratchConfig(ConfigModel):
    """New policies of PPO (stable-baselines3), one per held-out task."""

    num_tasks: PositiveInt = 5
    """Of the held-out tasks."""
    budgets: tuple[PositiveInt, ...] = (1, 100)
    """Multiples of the environment steps that the first method adapts with."""


class SuiteConfig(ConfigModel):
    """A comparison."""

    methods: dict[Name, MethodConfig] = Field(min_length=1)
    """By name; differences are to the first."""
    set: tuple[str, ...] = ()
    """Overrides for all."""
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2), min_length=1)
    """One run of every method for each."""
    scratch: ScratchConfig | None = None
    """A baseline that meta-learns nothing."""

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds occur twice in {', '.join(map(str, seeds))}")
        return seeds


class Comparison(NamedTuple):
    """What has to be run: by method, a config per seed."""

    configs: dict[str, list[ExperimentConfig]]
    scratch: ScratchConfig | None


def is_suite(path: Path) -> bool:
    """Whether a YAML file describes a comparison and not one experiment."""
    return "methods" in _read(path)


def load_suite(
    path: Path, seeds: tuple[int, ...] | None = None, overrides: tuple[str, ...] = ()
) -> Comparison:
    """Read a comparison.

    Args:
        path: YAML, see `configs/compare`.
        seeds: in place of its own, if any.
        overrides: for all methods, after its own.

    Raises:
        ConfigError: if it, or the config of a method, is wrong.
    """
    try:
        suite = SuiteConfig.model_validate(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: key {key!r}: {first['msg']}") from None
    configs: dict[str, list[ExperimentConfig]] = {}
    for name, method in suite.methods.items():
        about = [*method.set, *suite.set, *overrides]
        source = path.parent / method.config
        configs[name] = [
            load_config(source, [*about, f"seed={seed}"]) for seed in seeds or suite.seeds
        ]
    _require_one_protocol({name: same[0] for name, same in configs.items()})
    return Comparison(configs, suite.scratch)


def _require_one_protocol(configs: dict[str, ExperimentConfig]) -> None:
    """Refuse methods whose returns would not compare; whether they observe the task is theirs."""
    (first, wanted), *others = ((name, _protocol(config)) for name, config in configs.items())
    for name, found in others:
        for key, value in wanted.items():
            if found[key] != value:
                raise ConfigError(
                    f"{key} is {value} for {first}, {found[key]} for {name}: a comparison is of "
                    "one environment and the same tasks (`set` changes all)"
                )


def _protocol(config: ExperimentConfig) -> dict[str, object]:
    env, evaluation = config.env, config.evaluation
    return {
        "env.id": env.id,
        "the environment of the evaluation": evaluation.merged_into(env.kwargs),
        "env.plugin": env.plugin,
        "horizon": config.horizon,
        "evaluation.split": evaluation.split,
        "evaluation.num_tasks": evaluation.num_tasks,
        "evaluation.seed": evaluation.seed,
    }


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise ConfigError(f"no config file at {path}")
    try:
        document = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{path} is no YAML: {one_line(error)}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no mapping")
    return {str(key): value for key, value in document.items()}
