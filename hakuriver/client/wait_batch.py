"""Waiting for a batch, however many tasks it has: what is asked for is how many are how far."""

from __future__ import annotations

import time
from functools import partial

from hakuriver.client.host_api import HostApi, Row
from hakuriver.client.output import Output
from hakuriver.client.render import FINAL, ending
from hakuriver.client.wait import Patience, WaitFailed, exit_code
from hakuriver.model.errors import HakuRiverError
from hakuriver.model.units import format_duration

PAUSES = (0.05, 0.1, 0.2, 0.5)
"""Seconds between requests: a short batch is noticed at once, a long one costs little."""


def wait_for_batch(batch: str, api: HostApi, out: Output, *, met: bool = False) -> int:
    """Until all have ended; 0 if all completed, else the code of the first that did not."""
    try:
        found = _until_all_ended(batch, api, out, met=met)
    except HakuRiverError as error:
        raise WaitFailed(error) from None
    except KeyboardInterrupt:
        out.note(
            f"Batch {batch} goes on. Come back with: client wait --batch {batch}"
            f"   Stop it with: client kill --batch {batch}"
        )
        return 130
    if out.mode == "json":
        out.json(found)
    failed = found["first_failed"]
    out.note(f"Batch {batch}: {counts(found)}")
    if failed is not None:
        out.note(f"The first: {ending(failed)}")
        out.note(f"All of them: client list --batch {batch} --status failed,killed,killed_oom")
    return 0 if failed is None else exit_code([failed])


def _until_all_ended(batch: str, api: HostApi, out: Output, *, met: bool) -> Row:
    ask = Patience(out, met).ask
    pauses = list(PAUSES)
    began, done_then = time.monotonic(), -1
    while True:
        found: Row = ask(partial(api.batch, batch))
        done = over(found)
        if done == found["total"]:
            return found
        done_then = done if done_then < 0 else done_then
        seconds = time.monotonic() - began
        out.progress(progress(found, done - done_then, seconds))
        time.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])


def over(batch: Row) -> int:
    return sum(count for status, count in batch["by_status"].items() if status in FINAL)


def counts(batch: Row) -> str:
    """120 completed, 3 failed."""
    return ", ".join(f"{count} {status}" for status, count in sorted(batch["by_status"].items()))


def progress(batch: Row, finished: int, seconds: float) -> str:
    """One line; finished so many in so many seconds is what the rest is judged by."""
    done, total = over(batch), int(batch["total"])
    left = (total - done) * seconds / finished if finished else 0.0
    ahead = f", about {format_duration(left)} left" if left else ""
    return f"{done}/{total} done{ahead} ({counts(batch)})"
