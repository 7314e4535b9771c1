"""The root file system of an engine's host: the pack below, what is the engine's own above, and the mounts.

The mount table is an ordinary fstab(5), mounted in one go by ``boot.sh`` inside the engine's mount namespace, so that
none of it is ever seen on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.engine.cgroups import Hierarchy, hierarchies

__all__ = ["mount_table", "submounts", "write_skeleton"]

HERE = Path(__file__).parent
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun", "loop-control")
LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
LAYERS = "/var/lib/labkit/layers"
"""Where the host sees the store of image layers, read-only."""

HOSTS = """\
127.0.0.1 localhost
127.0.1.1 {hostname}
10.0.2.2 host.docker.internal
"""
CONTAINERD = """\
version = 2
# Docker uses none of these, and each costs start-up time
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
"""


def write_skeleton(
    upper: Path, hostname: str, config: Mapping[str, Any], layers: Sequence[str], *, rootless: bool
) -> None:
    """Fill *upper*, which lies over the pack, with the host's own files and the places to mount on.

    *layers*: ids of the image layers that come from the store; the host's own ``/etc/fstab`` puts them into the data-root.
    """
    options = "--pidfile=/run/docker.pid" + (
        " --rootless --data-root=/var/lib/docker --exec-root=/run/docker --config-file=/etc/docker/daemon.json"
        if rootless
        else ""
    )
    texts = {
        "etc/hostname": f"{hostname}\n",
        "etc/hosts": HOSTS.format(hostname=hostname),
        "etc/fstab": "".join(
            f"{LAYERS}/{id_} /var/lib/docker/overlay2/{id_}/diff none bind,ro 0 0\n" for id_ in layers
        ),
        "etc/resolv.conf": "nameserver 10.0.2.3\n",
        "etc/default/docker": f'DOCKER_OPTS="{options}"\n',
        "etc/docker/daemon.json": json.dumps(config, indent=2) + "\n",
        "etc/containerd/config.toml": CONTAINERD,
        "usr/local/sbin/engine-service": (HERE / "engine-service.sh").read_text(encoding="utf-8"),
    }
    for folder in (
        "proc",
        "sys",
        "run",
        "tmp",
        "dev/pts",
        "dev/shm",
        "dev/net",
        "var/lib/docker",
        "var/lib/containerd",
        "srv",
        LAYERS[1:],
    ):
        (upper / folder).mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        file = upper / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (upper / "usr/local/sbin/engine-service").chmod(0o755)
    for device in _devices():
        (upper / "dev" / device).touch()
    for link, target in LINKS.items():
        (upper / "dev" / link).symlink_to(target)
    for made in (upper, *(path for path in upper.rglob("*") if path.is_dir() and not path.is_symlink())):
        made.chmod(0o755)  # whatever the umask here


def _devices() -> list[str]:
    loops = sorted(path.name for path in Path("/dev").glob("loop[0-9]*"))
    return [name for name in (*DEVICES, *loops) if (Path("/dev") / name).exists()]


def mount_table(
    folder: Path,
    rootfs: Path,
    data: Path,
    store: Path | None,
    *,
    rootless: bool,
    on_tmpfs: bool,
    cgroups: bool,
) -> str:
    """The fstab of an engine whose runtime folder is *folder*; *store*: the image layers that it may use.

    *on_tmpfs*: what is written to the host's root goes to memory, since the pack is the machine's own root and overlayfs
    wants its layers apart.  *cgroups*: show the engine its own groups as the root.
    """
    host, upper = folder / "host", f"{folder}/upper" if on_tmpfs else f"{folder}/data"
    rows: list[tuple[str | Path, str | Path, str, str]] = [
        (rootfs, folder / "lower", "none", "bind"),
        (data, folder / "data", "none", "bind"),
        ("overlay", host, "overlay", _over(f"{folder}/lower", upper, rootless=rootless)),
        *(
            ("overlay", f"{host}{place}", "overlay", _over(place, f"{upper}/parts{place}", rootless=rootless))
            for place in (submounts() if on_tmpfs else [])
        ),
        ("proc", host / "proc", "proc", "nosuid,nodev,noexec"),
        ("sysfs", host / "sys", "sysfs", "nosuid,nodev,noexec"),
        ("tmpfs", host / "run", "tmpfs", "mode=0755,nosuid,nodev"),
        ("tmpfs", host / "tmp", "tmpfs", "mode=1777,nosuid,nodev"),
        ("tmpfs", host / "dev/shm", "tmpfs", "mode=1777,nosuid,nodev"),
        ("devpts", host / "dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,nosuid,noexec"),
        *((f"/dev/{name}", host / "dev" / name, "none", "bind") for name in _devices()),
        (folder / "run", host / "run/labkit", "none", "bind,X-mount.mkdir"),
        (data / "docker", host / "var/lib/docker", "none", "bind"),
        # Docker keeps its images itself; what containerd writes down is only of use while it runs
        ("tmpfs", host / "var/lib/containerd", "tmpfs", "mode=0711,nosuid,nodev"),
        *([(store, host / LAYERS[1:], "none", "bind,ro")] if store else []),
        *_cgroup_rows(host, cgroups),
    ]
    return "".join(f"{_escape(a)} {_escape(b)} {type_} {options} 0 0\n" for a, b, type_, options in rows)


def _over(lower: str, upper: str, *, rootless: bool) -> str:
    options = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
    return options + (",userxattr" if rootless else "")


def _cgroup_rows(host: Path, own: bool) -> list[tuple[str | Path, str | Path, str, str]]:
    found = hierarchies()
    place = host / "sys/fs/cgroup"
    if not own:
        return [("/sys/fs/cgroup", place, "none", "rbind,ro")]
    if any(hierarchy.unified for hierarchy in found):
        return [("cgroup2", place, "cgroup2", "nosuid,nodev,noexec")]
    return [
        ("tmpfs", place, "tmpfs", "mode=0755,nosuid,nodev,noexec"),
        *(
            (
                "cgroup",
                place / h.mountpoint.name,
                h.type,
                f"{_v1_options(h)}nosuid,nodev,noexec,X-mount.mkdir",
            )
            for h in found
        ),
    ]


def _v1_options(hierarchy: Hierarchy) -> str:
    if hierarchy.type == "cgroup2":
        return ""
    named = hierarchy.options.startswith("name=")
    return ("none," if named else "") + hierarchy.options + ","


def submounts() -> list[str]:
    """File systems of the machine that hold programs or their settings and are mounted apart from the root."""
    wanted = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/etc")
    points = [
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    ]
    return [place for place in dict.fromkeys(points) if place in wanted]


def _escape(path: str | Path) -> str:
    text = str(path)
    for character in ("\\", " ", "\t", "\n", "#"):
        text = text.replace(character, f"\\{ord(character):03o}")
    return text
