"""Gradient descent on a rigid motion, as both published refinements do it.

In: a start a_T_b and a loss of it. Out: the transform after the last step, whether or not an earlier one was better.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ADAM_BETAS = (0.4, 0.6)


def rigid_exp(twist: Tensor) -> Tensor:
    """Rigid transform (4, 4) of a twist (6,): translation part, then rotation vector in radians."""
    v, w = twist[:3], twist[3:]
    zero = torch.zeros_like(w[0])
    rows = [(zero, -w[2], w[1], v[0]), (w[2], zero, -w[0], v[1]), (-w[1], w[0], zero, v[2]), (zero, zero, zero, zero)]
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row) for row in rows]))


def descend(
    a_T_b: Tensor,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    learning_rate: float,
    rotate_only: bool = False,
    largest_step: float = float("inf"),
) -> Tensor:
    """Lower a loss of a_T_b (4, 4) by a rigid motion on its right: Adam on the six numbers of the twist.

    Args:
        a_T_b: start, a rigid motion or a similarity.
        loss: maps a (4, 4) transform to a number, with a gradient.
        steps: how many.
        learning_rate: of Adam, in radians and units of b.
        rotate_only: keep the translation part of the twist at 0.
        largest_step: bound on the change of each number in one step.
    """
    twist = torch.zeros(6, dtype=a_T_b.dtype, requires_grad=True)
    adam = torch.optim.Adam([twist], learning_rate, ADAM_BETAS)
    for _ in range(steps):
        before = twist.detach().clone()
        adam.zero_grad()
        loss(a_T_b @ rigid_exp(twist)).backward()
        if rotate_only and twist.grad is not None:
            twist.grad[:3] = 0
        adam.step()
        with torch.no_grad():
            twist.copy_(before + (twist - before).clamp(-largest_step, largest_step))
    return a_T_b @ rigid_exp(twist.detach())
