"""Exported models: files that hold backbone, network and category in one, and run without torch."""
