"""What was left out of a long job, counted, with the first reason of each kind."""

from __future__ import annotations


class Losses:
    """Counts by kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._reasons: dict[str, str] = {}

    def add(self, kind: str, reason: str = "", count: int = 1) -> None:
        """Count something that was left out.

        Args:
            kind: what, in the plural: "images of /camera without a box".
            reason: of this one; the first is told.
            count: how many.
        """
        if count:
            self._counts[kind] = self._counts.get(kind, 0) + count
            self._reasons.setdefault(kind, reason)

    def count(self, kind: str) -> int:
        """How many of a kind."""
        return self._counts.get(kind, 0)

    @property
    def sentences(self) -> list[str]:
        """One per kind."""
        return [
            f"{count} {kind}" + (f"; the first: {self._reasons[kind]}" if self._reasons[kind] else "")
            for kind, count in self._counts.items()
        ]
