"""Model, image and boxes to poses in the camera of the full image."""
