"""Surfaces to one common frame: pairwise similarities, a joint solution, a fused template."""
