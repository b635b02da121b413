"""Task images made on the spot from a static busybox; no registry is asked."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import static_busybox

USER_ID = 1234


@dataclass(frozen=True, slots=True)
class Images:
    """Names of environments, as in `--container NAME`; image() is what Docker calls them."""

    base: str
    nonroot: str  # USER 1234
    entrypoint: str  # ENTRYPOINT ["/bin/echo","entry"]
    shellless: str  # nothing but /bin/true

    @staticmethod
    def image(environment: str) -> str:
        return f"hakuriver/{environment}:base"


@contextmanager
def made_images() -> Iterator[Images]:
    """Import the images under names that no other test session has; remove them at the end."""
    unique = f"t{uuid.uuid4().hex[:10]}"
    images = Images(f"{unique}-base", f"{unique}-user", f"{unique}-entry", f"{unique}-bare")
    system, bare = system_tar(), tar_of({"bin/true": busybox()}, {})
    changes = {
        images.base: (system, []),
        images.nonroot: (system, [f"USER {USER_ID}"]),
        images.entrypoint: (system, ['ENTRYPOINT ["/bin/echo","entry"]', 'CMD ["default"]']),
        images.shellless: (bare, []),
    }
    try:
        for name, (content, change) in changes.items():
            import_image(images.image(name), content, ["ENV PATH=/bin", *change])
        yield images
    finally:
        names = [images.image(name) for name in changes]
        subprocess.run(["docker", "rmi", "--force", *names], capture_output=True, timeout=60)


def import_image(image: str, content: bytes, changes: list[str]) -> None:
    options = [word for change in changes for word in ("--change", change)]
    argv = ["docker", "import", *options, "-", image]
    done = subprocess.run(argv, input=content, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def busybox() -> bytes:
    return Path(static_busybox().detail).read_bytes()


def system_tar() -> bytes:
    """A file system with every applet of busybox, users, and a /tmp that all can write."""
    listing = subprocess.run(
        [static_busybox().detail, "--list"], capture_output=True, text=True, check=True
    )
    applets = set(listing.stdout.split()) - {"busybox"}  # a link to itself would hide the program
    files = {
        "bin/busybox": busybox(),
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nuser:x:1234:1234:user:/tmp:/bin/sh\n",
        "etc/group": b"root:x:0:\nuser:x:1234:\n",
    }
    return tar_of(files, {f"bin/{applet}": "busybox" for applet in sorted(applets)})


def tar_of(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            tar.addfile(entry(name, tarfile.DIRTYPE, mode))
        for name, content in files.items():
            info = entry(name, tarfile.REGTYPE, 0o755 if name.startswith("bin/") else 0o644)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in links.items():
            link = entry(name, tarfile.SYMTYPE, 0o777)
            link.linkname = target
            tar.addfile(link)
    return buffer.getvalue()


def entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    return info
