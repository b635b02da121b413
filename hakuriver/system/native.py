"""psutil, whose compiled part cannot be imported from a zip: it is loaded from memory."""

from __future__ import annotations

import os
import platform
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from zipimport import ZipImportError, zipimporter

from hakuriver.system import program

_EXTENSION = "psutil._psutil_linux"


def import_psutil() -> ModuleType | None:
    """None where it is missing or does not run: another processor, another C library, no memfd."""
    try:
        if program.archive() and _EXTENSION not in sys.modules:
            sys.modules[_EXTENSION] = _from_memory(program.place())
        import psutil
    except (ImportError, OSError, AttributeError):
        return None
    return psutil  # type: ignore[no-any-return]


def _from_memory(archive: str) -> ModuleType:
    name = f"{_EXTENSION.replace('.', '/')}.{platform.machine()}.so"
    try:
        library = zipimporter(archive).get_data(f"{archive}/{name}")
    except ZipImportError as error:
        raise OSError(str(error)) from None
    descriptor = os.memfd_create("psutil", os.MFD_CLOEXEC)
    with open(descriptor, "wb", 0) as file:
        file.write(library)
        path = f"/proc/self/fd/{descriptor}"
        loader = ExtensionFileLoader(_EXTENSION, path)
        module = module_from_spec(ModuleSpec(_EXTENSION, loader, origin=path))
        loader.exec_module(module)
    return module
