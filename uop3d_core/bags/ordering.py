"""Images of a recording in the order of their stamps, each with its depth.

In: messages in the order of their arrival. Out: Pictures. Images that come much too late are counted and left out.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from uop3d_core.bags.losses import Losses
from uop3d_core.bags.reading import Sources, Stamped
from uop3d_core.config import ReplaySettings
from uop3d_core.messages.reading import stamp_ns


@dataclass(frozen=True)
class Picture:
    """An image message with what belongs to it.

    Attributes:
        stamp_ns: when it was taken.
        message: the image, with its time of arrival.
        depth: message of the aligned depth, or None.
        anew: whether time began anew with it, as where a recording is repeated.
    """

    stamp_ns: int
    message: Stamped
    depth: Any = None
    anew: bool = False


def in_order(
    messages: Iterable[Stamped], sources: Sources, settings: ReplaySettings, losses: Losses
) -> Iterator[Picture]:
    """Sort images by their stamps as far as `window` allows, and give them their depth.

    Args:
        messages: of the topics of images and depth.
        sources: the topics.
        settings: how far to look.
        losses: told of images that are left out.
    """
    waiting: list[tuple[int, int, Stamped]] = []
    depths: dict[int, Any] = {}
    last, anew = None, False
    slop_ns, jump_ns = round(settings.depth_slop_s * 1e9), round(settings.jump_s * 1e9)

    def leave() -> Picture:
        nonlocal last, anew
        last, _, message = heapq.heappop(waiting)
        near = nearest(sorted(depths), last, slop_ns)
        picture = Picture(last, message, None if near is None else depths.pop(near), anew)
        anew = False
        return picture

    for number, message in enumerate(messages):
        stamp = stamp_ns(message.content.header.stamp)
        if message.raw.topic == sources.depth:
            depths[stamp] = message.content
            while len(depths) > 4 * settings.window:
                del depths[next(iter(depths))]
            continue
        newest = max((each[0] for each in waiting), default=last)
        if newest is not None and stamp < newest - jump_ns:
            while waiting:
                yield leave()
            depths = {at: depth for at, depth in depths.items() if at < newest - jump_ns}
            last, anew = None, True
        elif last is not None and stamp < last:
            losses.add(f"images of {sources.image} that came too late, after newer ones", f"at {stamp} ns")
            continue
        if stamp == last or any(stamp == each[0] for each in waiting):
            reason = f"at {stamp} ns" if stamp else "its stamp is 0: the driver has to set header.stamp"
            losses.add(f"images of {sources.image} with the stamp of another one", reason)
            continue
        heapq.heappush(waiting, (stamp, number, message))
        if len(waiting) > settings.window:
            yield leave()
    while waiting:
        yield leave()


def nearest(stamps: Sequence[int], stamp: int, slop_ns: int | None) -> int | None:
    """The nearest of sorted stamps, if it is not farther than the slop; None allows any distance."""
    index = bisect_left(stamps, stamp)
    best = min(stamps[max(index - 1, 0) : index + 1], key=lambda each: abs(each - stamp), default=None)
    return best if best is not None and (slop_ns is None or abs(best - stamp) <= slop_ns) else None
