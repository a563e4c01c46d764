"""From files to captures: each source of frames, cameras and masks in a module of its own."""
