"""Model files to hand on: what they say of themselves, their cards, and folders and hubs that hold them."""
