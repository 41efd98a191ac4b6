"""The options of an extension from outside the package, as its own class would have them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from nlbench import catalog
from nlbench.errors import SpecError
from nlbench.specs.kinds import ExternalConfig
from nlbench.specs.model import Closed
from nlbench.specs.problems import problems


def own_config(declared: ExternalConfig, owner: type) -> Closed | dict[str, Any]:
    """Return an external extension's options as the config that its class carries as `Config`, or that of the class of ours which
    it extends, or as they are where there is neither. Raises `SpecError` with every rule of the config that they break.
    """
    found = _config_of(owner, declared.kind)
    if found is None:
        return declared.options
    config, kind = found
    values = {**({"kind": kind} if "kind" in config.model_fields else {}), **declared.options}
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise SpecError(problems(error, declared.kind, config, values)) from None


def _config_of(owner: type, kind: str) -> tuple[type[Closed], str] | None:
    """Return a class's config, and its kind as that calls it: of the nearest of its bases that has one."""
    for base in owner.__mro__:
        config = vars(base).get("Config")
        if isinstance(config, type) and issubclass(config, Closed):
            return config, kind
        ours = catalog.kind_of(base)
        if ours is not None:
            return catalog.config(*ours), ours[1]
    return None
