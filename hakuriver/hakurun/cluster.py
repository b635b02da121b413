"""`hakurun hakuriver.client …`: not a client for each run, but one that submits the whole sweep.

The client is another program, so it is called as one.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from hakuriver.hakurun.arguments import Options
from hakuriver.hakurun.target import Target, Targets, become, on_path

CLIENT = "hakuriver.client"


def submit_sweep(options: Options) -> NoReturn:
    """Become the client. What says how runs are started here says nothing there: the cluster starts
    them, as it has room. Raises NoTarget."""
    zipped = ["--zip"] if options.zipped else []
    words = [options.words[0], "submit", "--sweep", *zipped, *options.words[1:]]
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
