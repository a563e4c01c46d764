"""Tables of things that can be had by name: built in, or added by third parties through Python entry points.

In: a name, the table of what is built in, the group of entry points. Out: the factory. Nothing is imported before it is
asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any


def known_names(built_in: Mapping[str, str], group: str) -> list[str]:
    """All names, built in or installed."""
    return sorted({*built_in, *(point.name for point in entry_points(group=group))})


def load_factory(name: str, kind: str, built_in: Mapping[str, str], group: str) -> Callable[..., Any]:
    """The factory of that name; what is built in comes before what is installed.

    Args:
        name: to look up.
        kind: what to call it in the error.
        built_in: ``module:attribute`` by name.
        group: of entry points.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name in built_in:
        module, _, attribute = built_in[name].partition(":")
        factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return factory
    installed = {point.name: point for point in entry_points(group=group)}
    if name not in installed:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(known_names(built_in, group))}")
    loaded: Callable[..., Any] = installed[name].load()
    return loaded
