"""The ``docker`` command line for a private engine: from its pack, with a configuration of its own.

So nothing of Docker has to be installed on the machine, and the user's own registry logins stay out of the lab.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from labkit.engine.packs import Pack

__all__ = ["environ", "write"]

PLUGINS = "usr/libexec/docker/cli-plugins"
USERS_OWN = (
    "BUILDX_BUILDER",
    "DOCKER_API_VERSION",
    "DOCKER_CERT_PATH",
    "DOCKER_CONTENT_TRUST",
    "DOCKER_CONTEXT",
    "DOCKER_DEFAULT_PLATFORM",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
)
"""What the user's shell may be set up for, and an engine of ours, which speaks plain HTTP on its own socket, is not."""


def write(folder: Path, pack: Pack) -> None:
    """Write the command line's programs and configuration below the engine's runtime *folder*."""
    (folder / "bin").mkdir()
    (folder / "cli/cli-plugins").mkdir(parents=True)
    (folder / "cli/tmp").mkdir()
    (folder / "cli/config.json").write_text(json.dumps({}), encoding="utf-8")
    if pack.is_machine:
        return
    for place, names in {
        folder / "bin": ["usr/bin/docker"],
        folder / "cli/cli-plugins": _plugins(pack),
    }.items():
        for name in names:
            program = pack.program(name)
            if program is not None:
                script = place / Path(name).name
                # buildx leaves what it was given on standard input in the folder for temporary files: ours goes with the engine
                temporary = shlex.quote(str(folder / "cli/tmp"))
                script.write_text(
                    f'#!/bin/sh\nTMPDIR={temporary} exec {shlex.join(program)} "$@"\n', encoding="utf-8"
                )
                script.chmod(0o755)


def _plugins(pack: Pack) -> list[str]:
    return sorted(str(path.relative_to(pack.rootfs)) for path in (pack.rootfs / PLUGINS).glob("docker-*"))


def environ(folder: Path) -> dict[str, str]:
    """Environment variables with which ``docker`` reaches the engine whose runtime folder is *folder*."""
    # an empty entry would mean the current folder
    path = [entry for entry in os.environ.get("PATH", "").split(":") if entry and not _is_ours(entry)]
    return {
        "DOCKER_HOST": f"unix://{folder}/run/docker.sock",
        "DOCKER_CONFIG": str(folder / "cli"),
        **dict.fromkeys(USERS_OWN, ""),
        "PATH": ":".join([str(folder / "bin"), *path]),
    }


def _is_ours(entry: str) -> bool:
    return entry.endswith("/bin") and (Path(entry).parent / "engine.json").exists()
