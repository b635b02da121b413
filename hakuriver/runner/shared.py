"""Whether the shared directory is the cluster's: a mount that is missing looks like an empty one."""

from __future__ import annotations

import json
from pathlib import Path


def shared_dir_problem(shared_dir: Path, cluster: str) -> str:
    """ "" if it is there and belongs to this cluster, else what is wrong, for people."""
    path = shared_dir / ".hakuriver.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["cluster"]
    except FileNotFoundError:
        return f"the shared directory {shared_dir} is not mounted (there is no {path.name} in it)"
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"cannot read {path}: it is damaged"
    if found != cluster:
        return f"the shared directory {shared_dir} belongs to another cluster, {found}"
    return ""
