"""The built artefact, driven as a user would drive it, and broken as the world would break it."""
