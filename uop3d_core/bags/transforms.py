"""Where frames were, from the TF messages of a recording; what tf2 does, as far as a replay needs it.

In: transforms with stamps. Out: rigid transforms at a time, between samples interpolated, never beyond them.
A transform parent_T_child maps coordinates in the child's frame to the parent's; metres.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from uop3d_core.geometry import Array, inverse_rigid, rigid

LONGEST_CHAIN = 100
"""More frames than this above each other are a circle."""


@dataclass(eq=False)
class _Edge:
    """All that is known of a frame relative to its parent."""

    parent: str
    fixed: bool
    stamps: list[int] = field(default_factory=list)
    parent_T_child: list[Array] = field(default_factory=list)
    in_order: bool = True


class Transforms:
    """Collects transforms, then answers."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, parent: str, child: str, stamp_ns: int, parent_T_child: Array, fixed: bool) -> None:
        """Take in one transform; a frame that gets another parent forgets the first.

        Args:
            parent: name of a frame.
            child: name of the frame in it.
            stamp_ns: when it held; of no account where it is fixed.
            parent_T_child: (4, 4) rigid.
            fixed: whether it holds at all times, as those of /tf_static.
        """
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.fixed != fixed or fixed:
            edge = self._edges[child] = _Edge(parent, fixed)
        edge.in_order = edge.in_order and (not edge.stamps or stamp_ns > edge.stamps[-1])
        edge.stamps.append(stamp_ns)
        edge.parent_T_child.append(parent_T_child)

    @property
    def frames(self) -> list[str]:
        """Names of all frames."""
        return sorted({*self._edges, *(edge.parent for edge in self._edges.values())})

    def has_parent(self, frame: str) -> bool:
        """Whether a frame hangs on another one."""
        return frame in self._edges

    def root_of(self, frame: str) -> str:
        """The frame that a frame hangs on in the end; itself where it hangs on none."""
        for _ in range(LONGEST_CHAIN):
            if frame not in self._edges:
                break
            frame = self._edges[frame].parent
        return frame

    def lookup(self, target: str, source: str, stamp_ns: int) -> Array | None:
        """target_T_source (4, 4) at a time; None where the frames are not connected or the time is not covered."""
        up, down = self._to_root(source, stamp_ns), self._to_root(target, stamp_ns)
        for frame, frame_T_source in up.items():
            if frame in down:
                target_T_source: Array = inverse_rigid(down[frame]) @ frame_T_source
                return target_T_source
        return None

    def _to_root(self, frame: str, stamp_ns: int) -> dict[str, Array]:
        """ancestor_T_frame of a frame and its ancestors, from near to far, as far as they are known at a time."""
        chain = {frame: np.eye(4)}
        here = frame
        while here in self._edges and len(chain) < LONGEST_CHAIN:
            edge = self._edges[here]
            parent_T_here = _at(edge, stamp_ns)
            if parent_T_here is None or edge.parent in chain:
                break
            chain[edge.parent] = parent_T_here @ chain[here]
            here = edge.parent
        return chain


def _at(edge: _Edge, stamp_ns: int) -> Array | None:
    """parent_T_child at a time: linear in the translation, on the shortest way in the rotation."""
    if edge.fixed:
        return edge.parent_T_child[-1]
    if not edge.in_order:
        order = np.argsort(edge.stamps, kind="stable")
        edge.stamps = [edge.stamps[i] for i in order]
        edge.parent_T_child, edge.in_order = [edge.parent_T_child[i] for i in order], True
    index = bisect_left(edge.stamps, stamp_ns)
    if index == len(edge.stamps):
        return None
    after = edge.stamps[index]
    if after == stamp_ns:
        return edge.parent_T_child[index]
    if index == 0:
        return None
    before = edge.stamps[index - 1]
    share = (stamp_ns - before) / (after - before)
    a, b = edge.parent_T_child[index - 1], edge.parent_T_child[index]
    turn = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([a[:3, :3], b[:3, :3]])))
    return rigid(turn(share).as_matrix(), (1 - share) * a[:3, 3] + share * b[:3, 3])
