"""The experiment config: YAML in, one frozen model out, one sentence for each mistake."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from yaml import YAMLError

from metarl.config_model import ConfigModel
from metarl.environments.config import EnvConfig
from metarl.errors import ConfigError, did_you_mean
from metarl.experiment.overrides import overridden
from metarl.experiment.sections import CheckpointConfig, EvaluationConfig, TasksConfig
from metarl.learners import LEARNERS
from metarl.learners.base import LearnerConfig
from metarl_envs.errors import one_line


class ExperimentConfig(ConfigModel):
    """Everything that determines a run."""

    env: EnvConfig
    learner: SerializeAsAny[LearnerConfig]
    policy: SerializeAsAny[ConfigModel] = Field(default={}, validate_default=True)
    """The keys that the learner's policy has."""
    tasks: TasksConfig = TasksConfig()
    meta_batch: PositiveInt
    """Tasks per iteration."""
    episodes: PositiveInt
    """Rollouts per task and phase."""
    horizon: PositiveInt
    """Longest episode, in steps."""
    iterations: PositiveInt
    """Meta-updates."""
    max_skipped: PositiveInt = 50
    """Iterations in a row that learn nothing (update skipped) before training stops."""
    seed: int = Field(0, ge=0)
    """Of everything random."""
    start_from: str | None = None
    """Run, checkpoint or zoo:ENV/METHOD whose parameters training begins with, where they fit."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where learning takes place; physics is on the CPU."""
    num_threads: int = Field(0, ge=0)
    """Threads of physics and of learning; 0 takes all CPUs."""
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @field_validator("learner", mode="before")
    @classmethod
    def _learner_by_name(cls, value: Any) -> Any:
        name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
        if not isinstance(name, str):
            raise ValueError(f"must be a mapping with a 'name', one of: {', '.join(LEARNERS)}")
        if name not in LEARNERS:
            raise ValueError(
                f"name {name!r} is unknown{did_you_mean(str(name), LEARNERS)}; "
                f"allowed: {', '.join(LEARNERS)}"
            )
        return LEARNERS[name].Config.model_validate(value)

    @field_validator("policy", mode="before")
    @classmethod
    def _policy_of_learner(cls, value: Any, info: ValidationInfo) -> Any:
        learner = info.data.get("learner")
        if learner is None:  # refused already
            return ConfigModel()
        return LEARNERS[learner.name].PolicyConfig.model_validate({} if value is None else value)

    @model_validator(mode="after")
    def _enough_fixed_tasks(self) -> "ExperimentConfig":
        if self.tasks.num is None and LEARNERS[self.learner.name].needs_fixed_tasks:
            raise ValueError(
                f"learner {self.learner.name} keeps what it has learned of each task: give it "
                "tasks.kind=fixed and tasks.num"
            )
        if self.tasks.num is not None and self.tasks.num < self.meta_batch:
            raise ValueError(
                f"tasks.num = {self.tasks.num} must be at least meta_batch = {self.meta_batch}"
            )
        return self

    @model_validator(mode="after")
    def _every_phase(self) -> "ExperimentConfig":
        fewest = self.learner.fewest_iterations
        if self.iterations < fewest:
            raise ValueError(
                f"iterations = {self.iterations} leaves out a phase of "
                f"learner.name={self.learner.name}, whose keys ask for {fewest} at least"
            )
        return self

    @model_validator(mode="after")
    def _demonstrations_where_needed(self) -> "ExperimentConfig":
        learner, name = LEARNERS[self.learner.name], self.learner.name
        if learner.needs_demonstrations != (self.tasks.demonstrations is not None):
            verb = "needs" if learner.needs_demonstrations else "does not learn from"
            raise ValueError(
                f"learner {name} {verb} demonstrations: tasks.kind=demonstrated and "
                "tasks.demonstrations"
            )
        if learner.adapts_to_demonstrations != (self.evaluation.demonstrations is not None):
            verb = "adapts" if learner.adapts_to_demonstrations else "does not adapt"
            raise ValueError(f"learner {name} {verb} to demonstrations: evaluation.demonstrations")
        return self


# What reading YAML can raise; recursion: nested a thousand times over
_UNREADABLE = (OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError, RecursionError)

# Keys that may change when a run is resumed: none of them alters the iterations already made
_RESUMABLE = frozenset(
    {"iterations", "max_skipped", "evaluation", "checkpoint", "num_threads", "device"}
)


def first_difference(
    old: ExperimentConfig, new: ExperimentConfig, but_for: frozenset[str] = _RESUMABLE
) -> str | None:
    """In words, the first key that differs; by default of those that resuming cannot change."""
    before, after = (c.model_dump(mode="json", exclude=set(but_for)) for c in (old, new))
    return _difference(before, after, "")


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> str | None:
    for key in {**old, **new}:
        was, asked = old.get(key), new.get(key)
        if was == asked:
            continue
        if isinstance(was, Mapping) and isinstance(asked, Mapping):
            return _difference(was, asked, f"{prefix}{key}.")
        return f"{prefix}{key} was {was}, not {asked}"
    return None


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, interpolate: bool = True
) -> ExperimentConfig:
    """Read a YAML file, apply `key.sub=value` and `~key.sub` overrides, check everything.

    Args:
        path: the file.
        overrides: such as "learner.inner.steps=2".
        interpolate: whether `${...}` is resolved; if not, such a value is refused.

    Raises:
        ConfigError: if the file is missing or no YAML, or a key or value is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no config file at {path}")
    try:
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise ConfigError(f"{path} must hold keys and values")
        merged = overridden(cast(DictConfig, loaded), overrides)
        document = OmegaConf.to_container(merged, resolve=interpolate)
    except _UNREADABLE as error:
        raise ConfigError(f"cannot read {path}: {one_line(error)}") from None
    assert isinstance(document, dict)
    if not interpolate and "${" in str(document):
        raise ConfigError(f"{path} must hold plain values: an interpolation ${{...}} is none")
    return parse_config({str(key): value for key, value in document.items()})


def parse_config(document: Mapping[str, Any]) -> ExperimentConfig:
    """A config from nested mappings.

    Raises:
        ConfigError: for the first mistake found, with the key, the value and what is allowed.
    """
    try:
        return ExperimentConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_sentence(error, document)) from None


def to_yaml(config: ExperimentConfig) -> str:
    """The whole config, defaults included; reading it back gives an equal one."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


_PLAINLY = {"tuple_type": "a list", "list_type": "a list", "dict_type": "a mapping"}


def _sentence(error: ValidationError, document: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    location, kind = _keys([str(part) for part in first["loc"]], document), first["type"]
    key = ".".join(location)
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _fields_at(location[:-1], document)
        hint = did_you_mean(location[-1], allowed)
        whose = _learner_name(document) if location[0] in ("learner", "policy") else None
        here = f"for learner {whose}" if whose else "here"
        known = f"; allowed {here}: {', '.join(allowed)}" if allowed else ""
        return f"unknown key '{key}'{hint}{known}"
    if kind == "missing":
        return f"key '{key}' is missing"
    if kind == "union_tag_invalid":
        tag, allowed_tags = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"key '{key}.name' is {tag!r}, must be one of {allowed_tags}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.removeprefix("Input ")
    message = _PLAINLY.get(kind, message)
    if kind == "value_error":
        return f"key '{key}' {message}" if key else message
    return f"key '{key}' is {first['input']!r}, must be {message}"


def _keys(location: Sequence[str], document: Mapping[str, Any]) -> list[str]:
    """The location without the names by which pydantic tells alternatives apart."""
    keys, node = [], cast(Any, document)
    for index, part in enumerate(location):
        inside = isinstance(node, Mapping) and part in node
        if isinstance(node, Mapping) and not inside and index < len(location) - 1:
            continue
        keys.append(part)
        node = node[part] if inside else None
    return keys


def _fields_at(location: Sequence[str], document: Mapping[str, Any]) -> list[str]:
    """The allowed keys of the model at a location of the config."""
    model: type[BaseModel] = ExperimentConfig
    node: Any = document
    for name in location:
        field = model.model_fields.get(name)
        node = node.get(name) if isinstance(node, Mapping) else None
        if field is None:
            return []
        alternatives = [part for part in _alternatives(field.annotation) if _is_model(part)]
        if name in ("learner", "policy") and model is ExperimentConfig:
            learner = LEARNERS[_learner_name(document)]
            alternatives = [learner.Config if name == "learner" else learner.PolicyConfig]
        tag = node.get("name") if isinstance(node, Mapping) else None
        named = [part for part in alternatives if _name_of(part) == tag]
        if not alternatives:
            return []
        model = (named or alternatives)[0]
    return list(model.model_fields)


def _learner_name(document: Mapping[str, Any]) -> str:
    learner = document["learner"]
    name: str = learner["name"] if isinstance(learner, Mapping) else learner.name
    return name


def _alternatives(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) or (annotation,)


def _name_of(model: type[BaseModel]) -> Any:
    return model.model_fields["name"].default if "name" in model.model_fields else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
