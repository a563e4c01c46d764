"""Pictures for the eye: poses drawn into images, captures side by side in their common frame."""
