"""Generated examples are the same in every run: a failure is one for everybody."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("hakuriver", derandomize=True, deadline=None)
settings.load_profile("hakuriver")
