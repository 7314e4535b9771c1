"""All the set-up that `make lab` and `make test` do: Debian packages, the engine pack, the lab images.

Each step looks first whether it is done already, so that a second run takes no time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from labkit import doctor
from labkit.engine import images, making, packs
from labkit.errors import EngineUnreachable, LabkitError
from labkit.kernels import specs
from labkit.progress import Tell

__all__ = ["TEST_IMAGES", "TEST_PACKS", "for_labs", "for_tests"]

LAB_PACK = "debian-13"
LAB_IMAGES = ("busybox",)
TEST_PACKS = ("debian-13", "debian-12")
TEST_IMAGES = ("busybox",)
TEST_PROGRAMS = ("chromium",)
STORED_FOR_TESTS = ("busybox", "debian", "postgres", "redis")
"""What some tests and labs take from the store."""


def for_labs(
    tell: Tell, wanted: Sequence[str] = LAB_IMAGES, *, refresh: bool = False, programs: Sequence[str] = ()
) -> None:
    """Everything that the labs need: the default engine pack and the images, ready in a prepared state.

    *refresh*: a pack and images whose recipe has changed are made anew, where that can be done.  *programs*: other Debian
    packages that will be needed, so that what is not there is told at once.
    """
    with suppress(OSError):  # an environment that is not ours to write: kernels start the ordinary way
        specs.install()
    if os.environ.get("LABKIT_PROVIDER") == "attach":
        return
    _programs([LAB_PACK], wanted, programs, tell)
    _pack(LAB_PACK, tell, refresh=refresh)
    if refresh:
        _refresh(wanted, tell)
    _images(LAB_PACK, wanted, tell)


def for_tests(tell: Tell) -> None:
    """Everything that the tests need: both engine packs, every image that they use, and a browser."""
    _programs(TEST_PACKS, STORED_FOR_TESTS, TEST_PROGRAMS, tell)
    for name in TEST_PACKS:
        _pack(name, tell, refresh=True)
    _refresh(STORED_FOR_TESTS, tell)
    for name in TEST_PACKS:
        _images(name, TEST_IMAGES, tell)
    images.get(STORED_FOR_TESTS, tell)


def _programs(recipes: Sequence[str], wanted: Sequence[str], others: Sequence[str], tell: Tell) -> None:
    """What makes those of the packs and of the images *wanted* that are not there yet, and *others*: one look at all."""
    there = all(name in packs.names() for name in recipes) and all(images.stored(name) for name in wanted)
    lacking = doctor.lacking([*([] if there else ["mmdebstrap"]), *others])
    need_private_engine(lacking)
    _debian_packages(lacking, tell)


def need_private_engine(packages: Sequence[str]) -> None:
    """Raise `EngineUnreachable`, with all ways that are open, where this machine cannot run a private engine.

    The Debian *packages* are named with what else has to be installed.
    """
    problems = [finding for finding in doctor.sandbox_findings() if finding.status == doctor.MISSING]
    if not problems:
        return
    running = next(f for f in doctor.examine() if f.name == "running engine")
    attach = (
        "or use the engine that runs here: LABKIT_PROVIDER=attach make lab"
        if running.status == doctor.OK
        else "or start a Docker engine of your own and use it: LABKIT_PROVIDER=attach make lab"
    )
    raise EngineUnreachable(
        "no private engine can be started on this machine yet",
        seen="\n".join(f"{f.name}: {f.found}" for f in problems),
        try_="\n".join([*doctor.remedies(problems, packages), attach]),
    )


def _pack(name: str, tell: Tell, *, refresh: bool) -> None:
    """Have the engine pack *name*, with *refresh* anew if it is outdated; what is there goes on being used where that fails."""
    pack = packs.find(name) if name in packs.names() else None
    if pack and not (refresh and pack.outdated):
        packs.tell_outdated(pack, tell)
        return
    try:
        _debian_packages(doctor.lacking(["mmdebstrap"]), tell)
        making.build(name, tell)
    except LabkitError as error:
        if pack is None:
            raise
        tell(f"engine pack {name}: not made anew, and used as it is ({error.what})")


def _refresh(names: Sequence[str], tell: Tell) -> None:
    """Make the images *names* anew whose recipe has changed; without a network, what is there goes on being used."""
    outdated = [name for name in names if (found := images.stored(name)) and found.outdated]
    if outdated:
        try:
            _debian_packages(doctor.lacking(["mmdebstrap"]), tell)
            images.get(outdated, tell, refresh=True)
        except LabkitError as error:
            tell(f"images: not made anew, and used as they are ({error.what})")


def _images(pack: str, wanted: Sequence[str], tell: Tell) -> None:
    images.prepared_with(wanted, packs.find(pack), tell)


def _debian_packages(missing: Sequence[str], tell: Tell) -> None:
    """Install the Debian packages *missing*, each called as its program; as root only."""
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabkitError(
            f"{' and '.join(missing)} not installed, and set-up may not install it",
            seen=f"user {os.geteuid()}" if os.geteuid() else "no apt-get on this machine",
            try_=f"apt-get install {' '.join(missing)}   (as root)\n"
            "labkit pack import FILE and labkit images import FILE   (made on another machine by export)\n"
            "labkit doctor   (every need, and which ways to an engine are open here)",
        )
    tell(f"installing {' '.join(missing)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = ""
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        log = done.stdout + done.stderr
    if still := doctor.lacking(missing):
        raise LabkitError(
            f"apt-get could not install {' '.join(still)}",
            seen="\n".join(log.strip().splitlines()[-6:]),
            try_="is a Debian mirror reachable?",
        )
