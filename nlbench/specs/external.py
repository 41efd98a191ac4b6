"""The options of an extension from outside the package, as its own class would have them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from nlbench.errors import SpecError
from nlbench.specs.kinds import ExternalConfig
from nlbench.specs.model import Closed
from nlbench.specs.problems import problems


def own_config(declared: ExternalConfig, owner: type) -> Closed | dict[str, Any]:
    """Return an external extension's options as the config that its class carries as `Config`, or as they are where it has none.
    Raises `SpecError` with every rule of the config that they break.
    """
    config = getattr(owner, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Closed)):
        return declared.options
    values = {**({"kind": declared.kind} if "kind" in config.model_fields else {}), **declared.options}
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise SpecError(problems(error, declared.kind, config, values)) from None
