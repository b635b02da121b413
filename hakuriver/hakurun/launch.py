"""One sweep, from its words to the summary: what is wired, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hakuriver.hakurun.arguments import Options
from hakuriver.hakurun.capture import Capture, Files, Group, Prefix, Raw
from hakuriver.hakurun.joblog import Joblog
from hakuriver.hakurun.pool import Ended, Pool, Run, outcome
from hakuriver.hakurun.quoting import quoted
from hakuriver.hakurun.screen import LISTED_MAX, Screen, progress_text
from hakuriver.hakurun.target import NoTarget, Targets, argv_of, become
from hakuriver.model import sweep
from hakuriver.model.errors import UsageError
from hakuriver.model.units import counted, format_duration


def launch(options: Options) -> int:
    """Run all of it; the exit code. Raises HakuRiverError."""
    plan = sweep.parse(options.words, read_lines, zipped=options.zipped)
    live = os.isatty(2) and os.environ.get("TERM") != "dumb" and plan.total > 1
    screen = Screen(plan.total, quiet=options.quiet, live=live)
    for note in plan.notes:
        screen.note(f"note: {note}")
    if options.dry_run:
        return _dry_run(plan)
    targets = Targets(modules=options.module)
    if all(isinstance(piece, str) for piece in plan.words[0]):
        target = targets.find(plan.argv(0)[0])  # a mistake is told before anything has run
        if plan.total == 1 and not options.watched:
            become(target, plan.argv(0), {**os.environ, **plan.variables(0)})
    return _Launch(options, plan, targets, screen).run()


def read_lines(name: str) -> list[str]:
    try:
        text = Path(name).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    return text.split("\n")


def _dry_run(plan: sweep.Sweep) -> int:
    for words in plan:
        # As the bytes that the words came as: not every stdout has a letter for each.
        sys.stdout.buffer.write(os.fsencode(f"{quoted(words)}\n"))
    return 0


class _Launch:
    """One sweep, from the first run to the summary."""

    def __init__(
        self, options: Options, plan: sweep.Sweep, targets: Targets, screen: Screen
    ) -> None:
        self._options = options
        self._plan = plan
        self._targets = targets
        self._screen = screen
        self._joblog = (
            Joblog(Path(options.joblog), resume=options.resume)
            if options.joblog is not None
            else None
        )
        self._began = time.monotonic()
        self._done = self._skipped = self._failed = 0
        self._first_failure: tuple[bool, int, int] | None = None
        self._listed: list[tuple[int, str, str]] = []
        self._pool = Pool(
            self._runs(),
            slots=options.jobs,
            capture=self._capture(),
            timeout=options.timeout,
            ended=self._ended,
            tick=self._tick,
            told=screen.warn,
            lasting=1.0 if screen.live else None,
        )

    def run(self) -> int:
        self._pool.run()
        self._screen.clear()
        self._summary()
        if self._pool.signal:
            return 128 + self._pool.signal
        if self._first_failure is not None:
            return self._first_failure[2] or 1
        if self._joblog is not None:
            self._joblog.check()
        return 0

    def _capture(self) -> Capture:
        total, mode = self._plan.total, self._options.output
        if mode == "group":
            return Group(self._screen)
        if mode == "prefix":
            return Prefix(self._screen, total)
        if mode == "raw":
            return Raw(self._screen, labelled=total > 1)
        return Files(Path(mode), total)

    def _runs(self) -> Iterator[Run]:
        environ = dict(os.environ)
        for index in range(self._plan.total):
            words = self._plan.argv(index)
            if self._joblog is not None and self._joblog.has_succeeded(quoted(words)):
                self._skipped += 1
                continue
            variables = self._plan.variables(index)
            try:
                target = self._targets.find(words[0])
            except NoTarget as error:
                run = Run(index + 1, words, "", [], {})
                code, now = error.exit_code, time.time()
                self._ended(Ended(run, code, 0, now, 0.0, "", error.detail))
                continue
            yield Run(
                index + 1, words, target.path, argv_of(target, words), {**environ, **variables}
            )

    def _ended(self, ended: Ended) -> None:
        self._done += 1
        run = ended.run
        if self._joblog is not None:
            whole = not self._joblog.broken
            code = ended.code if ended.succeeded else ended.code or 1
            self._joblog.ended(
                run.number, ended.started, ended.seconds, code, ended.signal, quoted(run.words)
            )
            if whole and self._joblog.broken:
                self._screen.warn(f"cannot write the joblog: {self._joblog.broken}; runs go on")
        if ended.succeeded:
            return
        self._failed += 1
        # Those that we stopped because of another one's failure are not the cause of anything.
        failure = (ended.stopped_by_us, run.number, ended.code)
        self._first_failure = min(filter(None, (self._first_failure, failure)))
        if len(self._listed) < LISTED_MAX:
            self._listed.append((run.number, outcome(ended), quoted(run.words)))
        if self._options.fail_fast and not ended.stopped_by_us:
            self._pool.fail_fast(signal.SIGTERM)

    def _tick(self, running: int) -> None:
        self._screen.progress(
            lambda: progress_text(
                self._done,
                self._failed,
                running,
                self._plan.total - self._skipped,
                time.monotonic() - self._began,
            )
        )

    def _summary(self) -> None:
        total, seconds = self._plan.total, format_duration(time.monotonic() - self._began)
        skipped = f", {self._skipped} had succeeded before" if self._skipped else ""
        left = total - self._skipped - self._done
        not_started = f", {left} not started" if left else ""
        if not self._failed and not left:
            if total > 1:
                self._screen.note(f"{counted(self._done, 'run')} succeeded in {seconds}{skipped}")
            return
        self._screen.warn(
            f"{self._failed} of {total} runs failed in {seconds}{not_started}{skipped}"
        )
        self._screen.list_failed(sorted(self._listed), self._failed - len(self._listed))
