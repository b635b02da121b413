"""`hakuriver licenses`: what is inside the one file, by whom it may be used, and how."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from zipimport import zipimporter

import hakuriver
from hakuriver.client.arguments import Parser
from hakuriver.client.output import Output
from hakuriver.client.render import Table
from hakuriver.model.errors import NotFound
from hakuriver.system import program


@dataclass(frozen=True, slots=True)
class Package:
    """texts: where its licences are, below the top of the file."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def main(argv: list[str]) -> int:
    parser = Parser(
        "hakuriver licenses",
        "List the packages inside this file with their licences, or print those of one.",
    )
    parser.add_argument("package", metavar="PACKAGE", nargs="?", help="print its licence texts")
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    given = parser.parse_args(argv, argparse.Namespace())
    out = Output.of_process("json" if given.json else "text")
    packages = inside()
    if given.package:
        package = find(packages, given.package)
        texts = {name.rpartition("/")[2]: read(name) for name in package.texts}
        if given.json:
            out.json(texts)
        else:
            out.lines(texts.values())
    elif given.json:
        out.json([{"name": p.name, "version": p.version, "licence": p.licence} for p in packages])
    else:
        table = Table(("PACKAGE", "VERSION", "LICENCE"))
        out.lines(table.lines((p.name, p.version, p.licence) for p in packages))
        if len(packages) == 1:
            out.note("A checkout holds nothing else; the built file does: python3 build_zipapp.py")
    return 0


def inside() -> list[Package]:
    ours = Package("hakuriver", hakuriver.__version__, "Apache-2.0", ("LICENSE",))
    if not program.archive():
        return [ours]
    listed = json.loads(read("licenses/packages.json"))
    return [ours, *(Package(name, **facts) for name, facts in sorted(listed.items()))]


def find(packages: list[Package], name: str) -> Package:
    for package in packages:
        if package.name == name.lower().replace("-", "_"):
            return package
    raise NotFound(
        f"there is no package '{name}' inside",
        f"There are: {', '.join(package.name for package in packages)}.",
    )


def read(name: str) -> str:
    """A text file below the top of the archive, or of the checkout."""
    archive = program.place()
    if archive:
        return zipimporter(archive).get_data(f"{archive}/{name}").decode()
    return (Path(hakuriver.__file__).parent.parent / name).read_text(encoding="utf-8")
