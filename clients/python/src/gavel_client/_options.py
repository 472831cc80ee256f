"""Checks settings when they are made, so that a slip in a name or a value is not found after the first rollouts."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from ._calls import Sampling, Settings

_SETTINGS = TypeAdapter(Settings)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name that was meant, if one is close, else all of them."""
    known = list(known)
    close = get_close_matches(name.lower(), known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; there are: {', '.join(known)}"


def check_settings(function: Callable[..., object], settings: Mapping[str, Any], **defaults: object) -> Settings:
    """The settings that a function was called with beside the keywords of its own.

    Raises:
        TypeError: There is no such setting.
        ValueError: It cannot have this value.
    """
    own = [name for name in inspect.signature(function).parameters if name not in ("self", "settings")]
    who = function.__qualname__.removesuffix(".__init__")
    _check_names(who, settings, [*own, *Settings.__annotations__])
    said = {name: value for name, value in {**defaults, **settings}.items() if value is not None}
    if isinstance(said.get("sampling"), Mapping):
        said["sampling"] = dict(said["sampling"])
        _check_names(f"{who}: sampling", said["sampling"], Sampling.__annotations__)
    try:
        _SETTINGS.validate_python(said, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = _name(first["loc"], said)
        raise ValueError(f"{who}: {name} cannot be {first['input']!r}: {first['msg']}") from None
    return cast("Settings", said)


def check_one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Checks a setting that has one of several values.

    Raises:
        ValueError: It has another one.
    """
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name} cannot be {value!r}{did_you_mean(str(value), allowed)}")


def check_kind(name: str, value: object, kind: type | tuple[type, ...]) -> None:
    """Checks the type of a setting that may be None.

    Raises:
        TypeError: It has another one.
    """
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} cannot be {value!r}, a {type(value).__name__}")


def check_label_mass(value: object) -> None:
    """Checks a `min_label_mass`.

    Raises:
        TypeError: It is no number.
        ValueError: It is not within 0 and 1.
    """
    check_kind("min_label_mass", value, (int, float))
    if isinstance(value, (int, float)) and not 0.0 <= value <= 1.0:
        raise ValueError(f"min_label_mass is within 0 and 1, not {value!r}")


def _name(places: Iterable[int | str], said: object) -> str:
    """The setting at these places, without the names of types that pydantic adds for those that may have several."""
    names = []
    for place in places:
        if isinstance(said, Mapping) and place in said:
            names.append(str(place))
            said = said[place]
    return ".".join(names)


def _check_names(who: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(f'{who} takes no "{name}"{did_you_mean(name, known)}')
