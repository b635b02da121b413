"""`hakurun [OPTIONS] APP [ARGUMENTS …]`.

One run with nothing to watch is started from here, and has to be quick; everything else is
launch.py, which is imported only then.
"""

from __future__ import annotations

import os

from hakuriver.hakurun.arguments import parse
from hakuriver.hakurun.cluster import is_submission, submit_sweep
from hakuriver.hakurun.target import Targets, become


def main(argv: list[str]) -> int:
    _occupy_standard_descriptors()
    options = parse(argv, os.environ)
    if is_submission(options.words) and not options.dry_run:
        submit_sweep(options)
    if not options.watched and not any("span:" in word for word in options.words):
        target = Targets(modules=options.module).find(options.words[0])
        alone = {"HAKURUN_INDEX": "1", "HAKURUN_TOTAL": "1"}
        become(target, options.words, {**os.environ, **alone})
    from hakuriver.hakurun.launch import launch

    return launch(options)


def _occupy_standard_descriptors() -> None:
    """What was closed when we started must not become the first file that we open."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # For reading: a write fails, as it would on the closed one.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
