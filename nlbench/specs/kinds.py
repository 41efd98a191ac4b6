"""Tables with a `kind`: the config of one extension of a group, chosen by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from nlbench import catalog
from nlbench.catalog import Group
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


@dataclass(frozen=True)
class KindOf:
    """Marks a field that holds the config of one extension of a group: `Annotated[Closed, KindOf("networks")]`.

    A table in it is validated by the config of its `kind`, and written whole, whatever the field's own class knows.
    """

    group: Group

    def config(self, kind: object) -> type[Closed] | None:
        """Return the config class of a kind, None for one that is not known."""
        if not isinstance(kind, str):
            return None
        if catalog.built_in(self.group, kind):
            return catalog.config(self.group, kind)
        return ExternalConfig if ":" in kind or kind in catalog.registered(self.group) else None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.no_info_before_validator_function(self._chosen, handler(source))
        schema["serialization"] = core_schema.simple_ser_schema("any")
        return schema

    def _chosen(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        known = f"{', '.join(sorted(catalog.extensions(self.group)))}, or package.module:Class"
        if not isinstance(kind, str):
            raise PydanticCustomError("kind_missing", "is required: one of {known}", {"known": known})
        config = self.config(kind)
        if config is None:
            names = catalog.extensions(self.group)
            raise PydanticCustomError("kind_unknown", "must be one of {known}", {"known": known, "kind": kind, "names": names})
        if config is ExternalConfig:
            return ExternalConfig(kind=kind, options={key: item for key, item in value.items() if key != "kind"})
        return config.model_validate(value)
