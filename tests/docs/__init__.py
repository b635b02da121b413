"""The documentation: complete, true, and its commands run."""
