"""HakuRiver: a handful of machines, used as one computer."""

__version__ = "1.0.0.dev0"

PROTOCOL = 1
"""Version of the messages between host and runner; both refuse another."""
