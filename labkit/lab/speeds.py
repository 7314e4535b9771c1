"""How long writing and reading take in the four places where a container can keep a file, measured side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.engine.failures import translated
from labkit.errors import LabkitError
from labkit.labels import ours
from labkit.observe.tables import Table, Tabular

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["PLACES", "Speeds", "speeds"]

MIB = 32
"""Size of the file that is there already, in MiB; of the new one half of it."""
PLACES = {"layer": "/old", "volume": "/volume", "bind": "/bind", "tmpfs": "/tmpfs"}
"""Where a container keeps files, and where the measuring container sees it."""
WORK = {
    "change": f"a file of {MIB} MiB changed for the first time",
    "new": f"a new file of {MIB // 2} MiB, until it is safe on the disk",
    "read": f"a file of {MIB} MiB read",
}
ROUNDS = 5
FAR = 10
"""How many times as long is told as another kind of time; less than that, these measurements do not tell apart."""
FLOOR = 0.0003
"""Seconds; what is quicker counts as that, since it is the clock that is measured then."""

SCRIPT = f"""
export LC_ALL=C
took() {{ local place=$1 work=$2 began=$EPOCHREALTIME; shift 2; "$@" || exit 1
  local ended=$EPOCHREALTIME; echo "$place $work $((${{ended/./}} - ${{began/./}}))"; }}
change() {{ printf x >>"$1/atlas"; }}
new() {{ dd if=/dev/zero of="$1/new" bs=1M count={MIB // 2} conv=fsync status=none; }}
read_all() {{ dd if="$1/atlas" of=/dev/null bs=1M status=none; }}
for folder in /volume /bind /tmpfs; do cp /old/atlas "$folder/atlas"; done; sync
for at in "$@"; do took "${{at%%=*}}" read read_all "${{at#*=}}"; done
for at in "$@"; do took "${{at%%=*}}" change change "${{at#*=}}"; done
for at in "$@"; do took "${{at%%=*}}" new new "${{at#*=}}"; rm "${{at#*=}}/new"; done
"""
"""One round: prints place, work and microseconds.  Bash's clock, since the command ``time`` counts in steps of 10 ms."""


@dataclass(frozen=True, repr=False)
class Speeds(Tabular):
    """Seconds by work and place, as in `WORK` and `PLACES`; of several rounds the best, since a busy machine only adds to it.

    The table tells what differs by so much that it is the same on every machine; `details` has the seconds.
    """

    seconds: dict[tuple[str, str], float]

    def ratio(self, work: str, place: str) -> float:
        """How many times as long *work* takes in *place* as in a volume."""
        return max(self.seconds[work, place], FLOOR) / max(self.seconds[work, "volume"], FLOOR)

    def table(self) -> Table:
        rows = [
            [told, self._against(work, "layer"), self._against(work, "bind")] for work, told in WORK.items()
        ]
        return Table(["", "layer against volume", "bind against volume"], rows)

    def _against(self, work: str, place: str) -> str:
        ratio = self.ratio(work, place)
        if 1 / FAR <= ratio <= FAR:
            return f"alike (within a factor of {FAR})"
        return f"more than {FAR} times as long" if ratio > 1 else f"less than a {FAR}th of the time"

    def details(self) -> Table:
        rows = [
            [told, *(f"{1000 * self.seconds[work, place]:.1f} ms" for place in PLACES)]
            for work, told in WORK.items()
        ]
        return Table([f"best of {ROUNDS}", *PLACES], rows)


def speeds(engine: Engine, image: str, name: str) -> Speeds:
    """Measure in containers of *image*, which has bash and coreutils, called *name* and a dash and more; leave nothing.

    Each round is a new container, so that its layer is untouched, and takes the places in another order.  Raises
    `LabkitError` with what was said when a container cannot be made or fails, as on a full disk.
    """
    found: dict[tuple[str, str], list[float]] = {(work, place): [] for work in WORK for place in PLACES}
    with translated(), _stage(engine, image, name) as options:
        order = list(PLACES.items())
        for _ in range(ROUNDS):
            order.append(order.pop(0))
            for line in _run(engine, options, order).splitlines():
                place, work, microseconds = line.split()
                found[work, place].append(int(microseconds) / 1e6)
    return Speeds({key: min(values) for key, values in found.items()})


@contextmanager
def _stage(engine: Engine, image: str, name: str) -> Iterator[dict[str, Any]]:
    """An image with the old file in it, a volume and a folder of the host; the options of a container that has them all."""
    client, label = engine.client, ours(engine.id)
    stage = f"{name}-speeds"
    with ExitStack() as undo:
        maker = client.containers.create(
            image, ["-c", f"mkdir /old && dd if=/dev/zero of=/old/atlas bs=1M count={MIB} status=none"],
            entrypoint="bash", user="root", name=stage, labels=label,
        )  # fmt: skip
        try:
            maker.start()
            _must(maker)
            maker.commit(stage)
        finally:
            maker.remove(force=True, v=True)
        undo.callback(_remove_image, engine, stage)
        client.volumes.create(stage, labels=label)
        undo.callback(_remove_volume, engine, stage)
        folder = client.volumes.create(f"{stage}-bind", labels=label)
        undo.callback(_remove_volume, engine, f"{stage}-bind")
        yield {
            "image": stage, "entrypoint": "bash", "user": "root", "name": stage, "labels": label,
            "tmpfs": {"/tmpfs": ""},
            # a folder of the host that goes without a trace; mounted by its path it is a bind like any other
            "volumes": [f"{stage}:/volume", f"{folder.attrs['Mountpoint']}:/bind"],
        }  # fmt: skip


def _run(engine: Engine, options: dict[str, Any], order: list[tuple[str, str]]) -> str:
    places = [f"{place}={folder}" for place, folder in order]
    container = engine.client.containers.create(command=["-c", SCRIPT, "round", *places], **options)
    try:
        container.start()
        return _must(container)
    finally:
        container.remove(force=True, v=True)


def _must(container: Any) -> str:
    """What *container* said, once it has ended well."""
    code = container.wait()["StatusCode"]
    said = str(container.logs().decode(errors="replace"))
    if code:
        raise LabkitError(f"{container.name} could not measure (exit code {code})", seen=said.strip()[-500:])
    return said


def _remove_image(engine: Engine, name: str) -> None:
    with suppress(Exception), engine.approve("image", name):
        engine.client.images.remove(name, force=True)


def _remove_volume(engine: Engine, name: str) -> None:
    with suppress(Exception), engine.approve("volume", name):
        engine.client.volumes.get(name).remove(force=True)
