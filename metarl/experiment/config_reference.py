"""Every key of a config with its default and meaning, read from the models themselves."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from metarl.config_model import ConfigModel

_PLAIN = {"NoneType": "null", "bool": "true or false"}
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


class Key(NamedTuple):
    """A key of a config.

    Attributes:
        name: with its sections, such as `learner.inner.steps`.
        allowed: its values.
        default: as YAML has it; "required" where there is none.
        meaning: what it does.
    """

    name: str
    allowed: str
    default: str
    meaning: str


def keys_of(model: type[ConfigModel], prefix: str = "", default: object = None) -> Iterator[Key]:
    """All keys of a model, and those of its sections.

    Args:
        model: the config.
        prefix: of every name, such as "learner.".
        default: an instance whose values are the defaults, where a section has one of its own.
    """
    for name, field in model.model_fields.items():
        value = getattr(default, name, field.get_default(call_default_factory=True))
        sections = list(_sections(field.annotation))
        meaning = _meaning(model, name)
        if not sections:
            shown = "required" if field.is_required() else _yaml(value)
            yield Key(prefix + name, _allowed(field.annotation, field), shown, meaning)
        for section in sections:
            about = meaning or _first_line(section)
            choice = f" (name: {_name(section)})" if len(sections) > 1 else ""
            own = value if type(value) is section else None
            yield Key(f"{prefix}{name}{choice}", "section", "", about)
            yield from keys_of(section, f"{prefix}{name}.", own)


def _meaning(model: type[ConfigModel], name: str) -> str:
    """What a key's docstring says, in the model or where it overrides the key of another."""
    bases = (base for base in model.__mro__ if issubclass(base, ConfigModel))
    fields = (base.model_fields[name] for base in bases if name in base.model_fields)
    found = (field.description for field in fields if field.description)
    return " ".join(next(found, "").split())


def _sections(annotation: Any) -> Iterator[type[ConfigModel]]:
    """The models among the alternatives of a type; none for the open ones that a learner fills."""
    if isinstance(annotation, type) and issubclass(annotation, ConfigModel):
        if annotation.model_fields:
            yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _sections(part)


def _allowed(annotation: Any, field: FieldInfo | None = None) -> str:
    """A type in words."""
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if origin in (Union, types.UnionType):
        text = " or ".join(_allowed(part) for part in get_args(annotation))
    elif origin in (tuple, list):
        text = f"list of {_allowed(get_args(annotation)[0])}"
    elif origin is dict:
        text = "mapping"
    elif origin is Annotated:
        text = _allowed(annotation.__origin__) + _bounds(annotation.__metadata__)
    else:
        name = getattr(annotation, "__name__", str(annotation))
        text = _PLAIN.get(name, name)
    return text + (_bounds(field.metadata) if field is not None else "")


def _bounds(metadata: Any) -> str:
    found = [
        f" {sign} {getattr(m, k)}" for m in metadata for k, sign in _BOUNDS.items() if hasattr(m, k)
    ]
    return ",".join(found)


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


def _name(model: type[ConfigModel]) -> str:
    return str(model.model_fields["name"].default)


def _first_line(model: type[ConfigModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]
