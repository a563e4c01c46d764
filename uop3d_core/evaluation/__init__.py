"""Estimates against labels: rotation errors of alignments and of poses in single images."""
