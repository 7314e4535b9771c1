"""The copy of a volume in a file, as it lies there: its checksum, what that has to be, and what is in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Refused, UsageError
from labkit.observe import contents
from labkit.observe.contents import Contents
from labkit.observe.tables import Table, Tabular

__all__ = ["Copy", "checksum", "copy", "note_of"]


@dataclass(frozen=True, repr=False)
class Copy(Tabular):
    """A tar archive, *file*: its *sha256*, what that has to be (*expected*), its *contents*.

    *told_by*: who says what is expected.  *broken*: why its contents cannot be read.
    """

    file: Path
    exists: bool
    sha256: str = ""
    expected: str = ""
    told_by: str = ""
    contents: Contents | None = None
    broken: str = ""

    @property
    def troubles(self) -> list[str]:
        """Why it is not to be trusted; empty for a good one."""
        if not self.exists:
            return [f"no file {self.file}"]
        dangers = self.contents.dangers() if self.contents else []
        return [
            *(["nothing says what its checksum has to be"] if not self.expected else []),
            *(["its sha256 is another one"] if self.expected and self.sha256 != self.expected else []),
            *([self.broken] if self.broken else []),
            *dangers[:3],
            *([f"and {len(dangers) - 3} more"] if len(dangers) > 3 else []),
        ]

    def trusted(self) -> Contents:
        """Its contents.  Raises `UsageError` where there is no file, or no checksum, and `Refused` for one in *troubles*."""
        if not self.exists or not self.expected:
            raise UsageError(
                f"{self.file} cannot be trusted",
                seen=self.troubles[0],
                expected=f"a tar archive, and beside it {note_of(self.file).name}",
                try_="-p sha256=…, the checksum that you know from elsewhere"
                if self.exists
                else "another file",
            )
        if self.troubles or self.contents is None:
            raise Refused(
                f"{self.file} is not used: it is damaged, or not what was copied",
                seen="\n".join([*self.troubles, f"sha256 {self.sha256}"]),
                expected=f"sha256 {self.expected}, by {self.told_by}",
                try_="another copy",
            )
        return self.contents

    def table(self) -> Table:
        if not self.exists:
            return Table([], [], caption=str(self.file), empty="no such file")
        inside = f"{self.contents.files} files, whole to the end" if self.contents else self.broken
        known = {True: f"as {self.told_by} says", False: f"NOT what {self.told_by} says"}[
            self.sha256 == self.expected
        ]
        rows = [
            ("sha256", known if self.expected else "nothing says what it has to be"),
            ("tar archive", inside),
        ]
        rows += [("danger", each) for each in (self.contents.dangers() if self.contents else [])[:3]]
        return Table(["fact", "value"], rows, caption=str(self.file))

    def details(self) -> Table:
        """The same with the checksum and sizes in bytes, which differ from copy to copy."""
        size = [
            ("bytes", self.file.stat().st_size),
            ("bytes in files", self.contents.bytes if self.contents else "?"),
        ]
        rows = [*self.table().rows, *([("sha256 is", self.sha256), *size] if self.exists else [])]
        return Table(["fact", "value"], rows, caption=str(self.file))


def copy(file: Path, sha256: str | None = None) -> Copy:
    """The copy in *file*; it has to have *sha256*, or else what the note beside it says (``sha256sum -c`` reads it).

    Raises `UsageError` when it cannot be read.
    """
    try:
        if file.is_dir():
            raise UsageError(f"{file} is a folder", expected="a file")
        if not file.exists():
            return Copy(file, exists=False)
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"{file} cannot be read", seen=error.strerror or str(error)) from None
    expected, told_by = (
        (sha256.lower(), "the parameter sha256") if sha256 else (_noted(file), note_of(file).name)
    )
    found = checksum(file)
    try:
        return Copy(file, True, found, expected, told_by, contents.of_file(file))
    except contents.ContentsBroken as error:
        return Copy(file, True, found, expected, told_by, broken=f"no whole tar archive: {error.seen}")


def note_of(file: Path) -> Path:
    """The file beside *file* that holds its checksum."""
    return file.with_name(f"{file.name}.sha256")


def checksum(file: Path) -> str:
    """The sha256 of *file*, in hexadecimal.  Raises `UsageError` when it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{file} cannot be read", seen=error.strerror or str(error)) from None


def _noted(file: Path) -> str:
    """What the note says, empty where there is none."""
    note = note_of(file)
    try:
        told = re.match(r"\\?([0-9a-f]{64}) [ *]", note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{note} cannot be read", seen=str(error)) from None
    if not told:
        raise UsageError(f"{note} holds no sha256", expected=f"a line as `sha256sum {file.name}` prints it")
    return told[1]
