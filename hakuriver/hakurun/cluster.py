"""`hakurun hakuriver.client …`: not a client for each run, but one that submits the whole sweep.

The client is another program, so it is called as one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from hakuriver.hakurun.arguments import Options
from hakuriver.hakurun.target import Target, Targets, become, on_path

CLIENT = "hakuriver.client"


def is_submission(words: Sequence[str]) -> bool:
    """Whether it is the client, with a command of the user's behind `--`, and not `kill span:{1..3}`."""
    if os.path.basename(words[0]) != CLIENT or "--" not in words:
        return False
    return words[1] == "submit" or words[1].startswith("-")


def submit_sweep(options: Options) -> NoReturn:
    """Become the client. What says how runs are started here says nothing there: the cluster starts
    them, as it has room. Raises NoTarget."""
    zipped = ["--zip"] if options.zipped else []
    rest = options.words[2 if options.words[1] == "submit" else 1 :]
    words = [options.words[0], "submit", "--sweep", *zipped, *rest]
    become(_client(options.words[0]), words, os.environ)


def _client(word: str) -> Target:
    """The link of that name; without one, this very program as the client."""
    if "/" in word:
        return Targets(modules=False).find(word)
    found = on_path(word)
    if found:
        return Target(found, (word,))
    program = os.path.realpath(sys.argv[0])
    return Target(sys.executable, (sys.executable, program, "client"))
