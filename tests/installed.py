"""``python -m tests.installed COMMAND…``: run a command on this machine as if Docker were installed on it.

In a mount namespace of its own, the programs of the engine pack of this machine's Debian release lie below those of the
machine's ``/usr`` (overlayfs), so that nothing of Docker is ever installed for a test.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from labkit import paths
from labkit.engine import packs

IPTABLES = (
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
)
SCRIPT = """
set -eu
mount -t overlay -o "lowerdir=/usr:$EXTRA:$PACK/usr" overlay /usr
rm -r "$EXTRA"
exec "$@"
"""


def why_not() -> str:
    """The reason for which it cannot be done here, or nothing."""
    if os.geteuid() != 0:
        return "only root can lay programs below /usr"
    if _pack() not in packs.names():
        return f"there is no engine pack for {platform.freedesktop_os_release().get('PRETTY_NAME', 'this system')}"
    return ""


def _pack() -> str:
    facts = platform.freedesktop_os_release()
    return f"{facts['ID']}-{facts.get('VERSION_ID', '')}"


def main() -> None:
    """Replace this process by the command."""
    if reason := why_not():
        sys.exit(reason)
    extra = Path(tempfile.mkdtemp(dir=paths.runtime().parent))
    (extra / "sbin").mkdir()
    for name in IPTABLES:  # in the pack these are links into /etc/alternatives
        (extra / "sbin" / name).symlink_to("xtables-nft-multi")
    os.environ.update(EXTRA=str(extra), PACK=str(packs.find(_pack()).rootfs))
    os.execvp(
        "unshare", ["unshare", "--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh", *sys.argv[1:]]
    )


if __name__ == "__main__":
    main()
