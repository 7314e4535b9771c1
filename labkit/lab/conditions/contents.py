"""What can be wanted of the files in an image: of one, of two beside each other, and of how they came to be there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from labkit.errors import UsageError
from labkit.lab.conditions.base import Condition, Object, Seen
from labkit.lab.conditions.facts import Facts, Found, Missing, NotReadable
from labkit.lab.conditions.files import MOST, Wanted, in_volume
from labkit.lab.conditions.wanted import name_of, path

__all__ = ["Contents"]

_IN_LAYERS = """
set -e
cd "$0"
top=$(mktemp -d)
trap 'cd /; umount "$top" 2>/dev/null; rmdir "$top"' EXIT
case $1 in
*:*) LIBMOUNT_FORCE_MOUNT2=always mount -t overlay -o "ro,lowerdir=$1" overlay "$top" ;;
*) mount --bind "$1" "$top" ;;
esac
[ -e "$top$2" ] || [ -L "$top$2" ] || { echo absent; exit; }
[ -f "$top$2" ] && [ ! -L "$top$2" ] || { echo other; exit; }
[ "$(stat -c %s -- "$top$2")" -le "$3" ] || { echo large; exit; }
number=0 top_most= below=-1
IFS=:
for folder in $1; do
    if [ -e "$folder$2" ]; then
        : "${top_most:=$number}"
        below=$((below + 1))
    fi
    number=$((number + 1))
done
echo "text $top_most $below"
cat -- "$top$2"
"""
"""Run in mounts of its own: the layers one above the other, as the engine shows them to a container.

Their names are relative, since mount(2) takes a page of them; fsconfig(2), which mount(8) prefers, 256 characters.
"""

KEPT = 100
"""So many files are remembered; an image never changes."""

_read: dict[tuple[str, str], File | None] = {}

_DEALT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n?")
"""What ``/proc/sys/kernel/random/uuid`` gives (random(4); RFC 9562, version 4)."""


@dataclass(frozen=True)
class File:
    """The *text* of a file, None for what is none, and the *layers* from the lowest to the one that has it, by digest.

    *below*: in how many layers further down there is something at its path, which it covers.
    """

    text: str | None
    layers: tuple[str, ...] = ()
    below: int = 0


class Contents(Object):
    """The half of an image's conditions that its files answer.  They need the engine's host."""

    kind = "image"

    def has_file(
        self, at: str, *, contains: str | None = None, equals: str | None = None, absent: bool = False
    ) -> Condition:
        """Its file *at* this path is there, or holds a text, or is a text, or is not there."""
        place, wanted = path(at), Wanted.checked(contains, equals, absent)
        return self._that(
            f"file {place}",
            str(wanted),
            lambda facts, found: wanted.seen(lambda: _file(facts, found, place).text),
        )

    def same_file(self, at: str, *, as_in: str) -> Condition:
        """Its file *at* this path is the very one of the image *as_in*: both have its layer, and all that lies below."""
        place = path(at)
        name_of("image", as_in)

        def see(facts: Facts, found: Found) -> Seen:
            own = _one_of_two(facts, found, self.name, place)
            other = _one_of_two(facts, facts.image(as_in), as_in, place)
            if own.text is None or other.text is None:
                return Seen("no text", ok=False)
            if own.layers == other.layers:
                return Seen("the same", ok=True)
            if own.layers[-1] == other.layers[-1]:
                return Seen("the same layer, on others", ok=False)
            return Seen(f"{'the same' if own.text == other.text else 'another'} text, made anew", ok=False)

        return self._that(
            f"file {place} compared with {as_in}",
            "the same, on the same layers",
            see,
            also=[("image", as_in)],
        )

    def covers_nothing(self, at: str) -> Condition:
        """Its file *at* this path was written once: no layer below has something there, out of sight and as heavy as ever."""
        place = path(at)

        def see(facts: Facts, found: Found) -> Seen:
            file = _file(facts, found, place)
            if file.text is None:
                return Seen("no text", ok=False)
            return Seen(f"something in {file.below} of them" if file.below else "nothing", ok=not file.below)

        return self._that(f"file {place}, in the layers below it", "nothing", see)

    def dealt(self, at: str) -> Condition:
        """Its file *at* this path holds a number that the kernel dealt (random(4), ``uuid``), and none that was typed."""
        place = path(at)

        def see(facts: Facts, found: Found) -> Seen:
            text = _file(facts, found, place).text or ""
            if not _DEALT.fullmatch(text):
                return Seen("another text", ok=False)
            history = facts.once(("history", found["Id"]), lambda: facts.ask("history", found["Id"]))
            typed = any(_types(str(step.get("CreatedBy")), text.strip()) for step in history)
            return Seen("a number that was typed" if typed else "such a number", ok=not typed)

        return self._that(f"file {place}", "a number of the kernel's, dealt while it was built", see)

    def follows(self, at: str, *, of: str, by: Callable[[str], str]) -> Condition:
        """The first word of its file *at* this path is what *by* makes of the text of the file *of*."""
        place, source = path(at), path(of)
        if not callable(by):
            raise UsageError(
                "no such way from one file to another", seen=repr(by), expected="a function of a text"
            )

        def see(facts: Facts, found: Found) -> Seen:
            own, other = (_one_of_two(facts, found, self.name, each).text for each in (place, source))
            fits = own is not None and other is not None and own.split()[:1] == [by(other)]
            return Seen("fits" if fits else "does not fit", ok=fits)

        return self._that(f"file {place} beside {source}", "to fit", see)

    def copied(self, at: str, *, volume: str, of: str) -> Condition:
        """Its file *at* this path holds the text that the file *of* has in this *volume*."""
        place, source = path(at), path(of)
        name_of("volume", volume)

        def see(facts: Facts, found: Found) -> Seen:
            own, holder = _one_of_two(facts, found, self.name, place).text, facts.volume(volume)
            try:
                other = in_volume(facts, holder, source, text=True)
            except Missing:
                return Seen(f"volume {volume} has no {source}", ok=False)
            same = own is not None and own == other
            return Seen("the same text" if same else "another text", ok=same)

        return self._that(
            f"file {place} compared with {posixpath.join(volume, source.lstrip('/'))}",
            "the same text",
            see,
            also=[("volume", volume)],
        )


def _types(step: str, text: str) -> bool:
    """Whether this *step* of a history has the *text*, or may have it: of what it copies from the manuscript nothing is noted."""
    return text in step or (step.startswith(("COPY", "ADD")) and " <<" in step)


def _file(facts: Facts, found: Found, at: str) -> File:
    """The file *at* this path of the image *found*.  Raises `Missing` and `NotReadable`."""
    key = (str(found["Id"]), at)
    if key not in _read:
        _read[key] = _look(facts, found, at)
        while len(_read) > KEPT:
            del _read[next(iter(_read))]
    file = _read[key]
    if file is None:
        raise Missing("absent")
    return file


def _one_of_two(facts: Facts, found: Found, image: str, at: str) -> File:
    """As `_file`; where another one is looked at beside it, `Missing` says which of them is absent."""
    try:
        return _file(facts, found, at)
    except Missing as missing:
        raise Missing(f"{missing}: {at} in {image}") from None


def _look(facts: Facts, found: Found, at: str) -> File | None:
    host, driver = facts.engine.host, found.get("GraphDriver") or {}
    if not host.available:
        raise NotReadable(host.reason)
    if driver.get("Name") != "overlay2":
        raise NotReadable(f"the engine keeps images by {driver.get('Name')}")
    data = driver["Data"]
    root = posixpath.dirname(posixpath.dirname(data["UpperDir"]))
    folders = f"{data['UpperDir']}:{data.get('LowerDir') or ''}".rstrip(":").replace(f"{root}/", "")
    command = ["unshare", "--mount", "sh", "-c", _IN_LAYERS, root, folders, at, str(MOST)]
    with facts.answering():
        said = host.run(command).stdout
    kind, _, content = str(said).partition("\n")
    if kind == "absent":
        return None
    if kind == "large":
        raise NotReadable(f"it has more than {MOST} bytes")
    if kind == "other":
        return File(None)
    layers = list(found["RootFS"].get("Layers") or [])
    above, below = map(int, kind.split()[1:])
    return File(content, tuple(layers[: len(layers) - above]), below)
