"""Captures and alignments to look at in a browser, live: needs the extra ``viewer``."""
