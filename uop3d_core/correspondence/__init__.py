"""Template and aligned captures to a network that says, for every pixel, where on the template it lies."""
