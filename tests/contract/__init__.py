"""One suite for all drivers: what a runner may rely on, whatever keeps its tasks alive."""
