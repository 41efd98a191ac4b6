"""Tables with a `kind`: the config of one extension of a group, chosen by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, GetCoreSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from nlbench import catalog
from nlbench.catalog import Group
from nlbench.errors import NlbenchError
from nlbench.specs.model import Closed, canonical


class ExternalConfig(Closed):
    """An extension from outside the package whose class is imported when a run starts: `package.module:Class`, `./file.py:Class`,
    or a registered entry point.
    """

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _plain(self) -> ExternalConfig:
        for key, value in self.options.items():
            try:
                canonical({key: value})
            except (TypeError, ValueError):
                raise ValueError(f"{key}: must be finite and no date or time, got {value!r}") from None
        return self


UNRESOLVED: Final = {"unresolved": True}
"""The context in which a declaration is validated without importing or opening anything that it names."""


def unresolved(info: ValidationInfo) -> bool:
    """Return whether a declaration is validated in that context."""
    return bool(info.context and info.context.get("unresolved"))


@dataclass(frozen=True)
class KindOf:
    """Marks a field that holds the config of one extension of a group: `Annotated[Closed, KindOf("networks")]`.

    A table in it is validated by the config of its `kind`, and written whole, whatever the field's own class knows.
    """

    group: Group
    base: type[Closed] | None = None
    """What a plan must know of every kind: where it is given, the class of somebody else's kind is imported when a plan is made,
    for its own `Config`, which extends it.
    """

    def config(self, kind: object) -> type[Closed] | None:
        """Return the config class of a kind, None where it is not known. Raises `NlbenchError` for one without."""
        if not isinstance(kind, str):
            return None
        if catalog.built_in(self.group, kind):
            return catalog.config(self.group, kind)
        if ":" not in kind and kind not in catalog.registered(self.group):
            return None
        return ExternalConfig if self.base is None else self._own(kind, self.base)

    def _own(self, kind: str, base: type[Closed]) -> type[Closed]:
        config = getattr(catalog.extension(self.group, kind, inspect.isclass, "a class"), "Config", base)
        if not (inspect.isclass(config) and issubclass(config, base)):
            raise NlbenchError(f"{kind}: its Config must extend {base.__module__}.{base.__name__}, got {config!r}.")
        return config

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.with_info_before_validator_function(self._chosen, handler(source))
        schema["serialization"] = core_schema.simple_ser_schema("any")
        return schema

    def _chosen(self, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        known = f"{', '.join(sorted(catalog.extensions(self.group)))}, or package.module:Class"
        if not isinstance(kind, str):
            raise PydanticCustomError("kind_missing", "is required: one of {known}", {"known": known})
        if self.base is not None and unresolved(info) and ":" in kind:
            return self.base.model_construct(**{key: item for key, item in value.items() if key in self.base.model_fields})
        config = self.config(kind)
        if config is None:
            names = catalog.extensions(self.group)
            raise PydanticCustomError("kind_unknown", "must be one of {known}", {"known": known, "kind": kind, "names": names})
        if config is ExternalConfig:
            return ExternalConfig(kind=kind, options={key: item for key, item in value.items() if key != "kind"})
        return config.model_validate(value, context=info.context)
