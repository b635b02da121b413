"""The environment of a task: built from nothing, so that nothing of the runner's gets in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from hakuriver.model.messages import RunOrder
from hakuriver.model.units import format_number

CARRIER = "HAKURIVER_ENV_"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def our_variables(
    order: RunOrder, *, cluster: str, node: str, shared_dir: str, local_temp_dir: str
) -> dict[str, str]:
    """HAKURIVER_… with the paths that are right where the task runs.

    TASK_ID, ATTEMPT, CLUSTER and NODE also mark a process as belonging to this attempt.
    """
    variables = {
        "HAKURIVER_TASK_ID": str(order.task),
        "HAKURIVER_CLUSTER": cluster,
        "HAKURIVER_NODE": node,
        "HAKURIVER_ATTEMPT": str(order.attempt),
        "HAKURIVER_SHARED_DIR": shared_dir,
        "HAKURIVER_LOCAL_TEMP_DIR": local_temp_dir,
        "HAKURIVER_CORES": format_number(order.cores),
    }
    if order.numa is not None:
        variables["HAKURIVER_TARGET_NUMA_NODE"] = str(order.numa)
    if order.cores and "OMP_NUM_THREADS" not in dict(order.env):
        variables["OMP_NUM_THREADS"] = str(max(1, int(order.cores)))
    return variables


def carriers(order: RunOrder) -> dict[str, str]:
    """The user's values, under names of ours: no program that we start takes orders from them."""
    return {f"{CARRIER}{place}": value for place, (_, value) in enumerate(order.env)}


def login_environment(user: pwd.struct_passwd, ours: Mapping[str, str]) -> dict[str, str]:
    """What somebody who logs in would have; language and time zone are the machine's."""
    return {
        "PATH": ours.get("PATH") or DEFAULT_PATH,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        "LANG": ours.get("LANG") or "C.UTF-8",
        **({"TZ": ours["TZ"]} if "TZ" in ours else {}),
    }


def bytes_environment(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    return {
        os.fsencode(name): value.encode("utf-8", "surrogateescape")
        for name, value in variables.items()
    }


def bytes_argv(argv: list[str]) -> list[bytes]:
    """Arguments as the bytes that they stand for, whatever this process's locale."""
    return [argument.encode("utf-8", "surrogateescape") for argument in argv]
