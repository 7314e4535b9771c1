"""A real registry on the engine's host: Debian's docker-registry, on the host's loopback, gone with the engine.

It speaks plain HTTP, which a daemon accepts from an address in 127.0.0.0/8 (docker manual, "Test an insecure registry").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, MissingCapability, UsageError

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Registry", "open_registry"]

CONFIG = "/etc/docker/registry/labkit-{port}.yml"
PID = "/run/labkit-registry-{port}.pid"
LOG = "/run/labkit-registry-{port}.log"
DATA = "/var/lib/docker-registry/{port}"
START_SECONDS = 60
WORDS = re.compile(r"[A-Za-z0-9 ]+")

SETTINGS = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: {port}}}
"""

START = """\
exec 3<&-
answers() { (exec 4<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }
running() { [ -s "$PID" ] && kill -0 "$(cat "$PID")" 2>/dev/null; }
if running; then exit 0; fi
if answers; then rm -f "$CONFIG"; echo "port $PORT is taken"; exit 1; fi
setsid docker-registry serve "$CONFIG" </dev/null >"$LOG" 2>&1 &
echo $! >"$PID"
until answers; do
    running || { tail -n 5 "$LOG"; rm -f "$PID" "$LOG" "$CONFIG"; exit 1; }
    sleep 0.01
done
"""

# what is in a tar archive has no checksum there, only its headers have (tar(5)): words of equal length leave it whole
FORGE = """\
cp -p "$0" "$0.original"
zcat "$0.original" | LC_ALL=C sed "s/$1/$2/" | gzip -n >"$0"
"""

STOP = """\
[ -s "$PID" ] || exit 0
kill "$(cat "$PID")" 2>/dev/null
while kill -0 "$(cat "$PID")" 2>/dev/null; do sleep 0.01; done
rm -rf "$PID" "$LOG" "$CONFIG" "$DATA"
"""


class Registry:
    """A registry that the daemon of *engine* reaches at ``address``.  Made by `open_registry`; as text it is its address."""

    def __init__(self, engine: Engine, port: int) -> None:
        self._engine, self._port = engine, port
        self.address = f"127.0.0.1:{port}"

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"registry at {self.address}, on the host of the engine {self._engine.name}"

    def digest(self, reference: str) -> str:
        """The digest that *reference* (``cookbook:1``) has in the registry now, as the daemon is told it.

        Raises `LabkitError` when the registry has no such image.
        """
        return f"sha256:{self._link(reference)}"

    def layers(self, reference: str) -> list[str]:
        """The digests of the layers of *reference*, from the lowest up: what the blobs that hold them are called."""
        manifest: dict[str, Any] = json.loads(self._engine.host.read(self._blob(self._link(reference))))
        return [str(layer["digest"]) for layer in manifest["layers"]]

    @contextmanager
    def tampered(self, reference: str, words: str, instead: str) -> Iterator[str]:
        """While the block runs, the layer of *reference* that holds *words* says *instead*; gives that layer's digest.

        The forgery is a well-made one: an archive that unpacks, with other content.  Only the name of the blob, its digest,
        does not fit.  Raises `UsageError` for texts that are not equally long, letters and spaces, and for *words* that
        no layer holds.
        """
        if len(words) != len(instead) or not WORDS.fullmatch(words + instead):
            raise UsageError(
                "a forger who is not to be seen keeps to the length",
                seen=f"{words!r}, {instead!r}",
                expected="letters, digits and spaces, equally many",
            )
        layer = self._layer_with(reference, words)
        blob = self._blob(layer)
        self._engine.host.run(["sh", "-ec", FORGE, blob, words, instead])
        try:
            yield f"sha256:{layer}"
        finally:
            self._engine.host.run(["mv", f"{blob}.original", blob])

    def _layer_with(self, reference: str, words: str) -> str:
        for layer in reversed(self.layers(reference)):
            digest = layer.partition(":")[2]
            look = ["sh", "-c", 'zcat "$0" | grep -q "$1"', self._blob(digest), words]
            if self._engine.host.run(look, check=False).ok:
                return digest
        raise UsageError(f"no layer of {reference} holds these words", seen=repr(words))

    def stop(self) -> None:
        """End the registry, with all that was pushed to it.  Safe to call twice."""
        self._run(STOP)

    def _link(self, reference: str) -> str:
        """The digest, without its algorithm, that the tag in *reference* leads to (distribution, registry/storage/paths.go)."""
        repository, _, tag = reference.removeprefix(f"{self.address}/").partition(":")
        link = f"{self._folder}/repositories/{repository}/_manifests/tags/{tag or 'latest'}/current/link"
        found = self._engine.host.run(["cat", "--", link], check=False)
        if not found.ok:
            raise LabkitError(
                f"the registry at {self.address} has no {reference}",
                try_=f"docker push {self.address}/{repository}:{tag or 'latest'}",
            )
        return found.stdout.strip().partition(":")[2]

    def _blob(self, digest: str) -> str:
        return f"{self._folder}/blobs/sha256/{digest[:2]}/{digest}/data"

    @property
    def _folder(self) -> str:
        return f"{DATA.format(port=self._port)}/docker/registry/v2"

    def _start(self) -> None:
        settings = SETTINGS.format(port=self._port, data=DATA.format(port=self._port))
        self._engine.host.write(CONFIG.format(port=self._port), settings)
        done = self._run(START)
        if not done.ok:
            raise LabkitError(f"no registry could be started at {self.address}", seen=str(done.stdout))

    def _run(self, script: str) -> Any:
        names = {"PID": PID, "LOG": LOG, "CONFIG": CONFIG, "DATA": DATA, "PORT": "{port}"}
        where = [f"{name}={value.format(port=self._port)}" for name, value in names.items()]
        command = ["env", *where, "bash", "-c", script]
        return self._engine.host.run(command, check=False, timeout=START_SECONDS)


def open_registry(engine: Engine, port: int = 5000) -> Registry:
    """A registry at *port* of the loopback of the host of *engine*, started unless it runs already.

    Raises `MissingCapability` on a shared engine, whose host is somebody's own or that has no docker-registry, and
    `LabkitError` when it does not start, as on a port that is taken.
    """
    if not engine.owned or not engine.host.run(["which", "docker-registry"], check=False).ok:
        raise MissingCapability(
            "no registry can be run beside this engine",
            seen=f"provider {engine.provider} ({engine.url})",
            expected="a private engine from a pack: its host has docker-registry",
            try_="LABKIT_PROVIDER=sandbox",
        )
    registry = Registry(engine, port)
    registry._start()
    return registry
