"""uop3d: learn the 3-D pose of an object category from casual videos, and estimate it in images."""
