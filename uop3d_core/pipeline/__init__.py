"""The stages wired to the run directory: captures to model, and models to what they are for.

No mathematics here: what is read, computed, written, and what need not be computed again.
"""
