"""The logs of an attempt are opened to everybody: only if they are logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakuriver.model.messages import RunOrder, Seq
from hakuriver.runner.drivers import Assignment, CannotStart
from hakuriver.runner.drivers.files import make_files
