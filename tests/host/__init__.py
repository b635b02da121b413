"""The host's parts, each on its own."""
