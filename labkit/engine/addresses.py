"""Where an engine that runs already is reached, found as the ``docker`` command line finds it: its URL, and TLS."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labkit.errors import UsageError

if TYPE_CHECKING:
    import docker
    import docker.tls
    import requests.adapters

__all__ = ["Address", "Tls", "find"]

DEFAULT_URL = "unix:///var/run/docker.sock"
TIMEOUT = 60
"""Seconds that an engine may take for an answer."""
FILES = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True)
class Tls:
    """TLS with the certificates in *folder*: an authority's (``ca.pem``), and our own (``cert.pem``, ``key.pem``) or none.

    *verify*: whether the engine has to show a certificate that ``ca.pem`` signed; else that file need not be there, either.
    """

    folder: Path
    verify: bool

    def check(self, source: str) -> None:
        """Raise `UsageError` for a file that is needed and not there: an engine need not ask who we are."""
        ca, *own = FILES
        there = [name for name in FILES if self._file(name)]
        needed = [*([ca] if self.verify else []), *(own if set(own) & set(there) else [])]
        missing = [name for name in needed if name not in there]
        if missing:
            raise UsageError(
                f"the TLS certificates of the engine are incomplete ({source})",
                seen=f"no {', '.join(missing)} in {self.folder}",
                expected=f"{ca}; and for an engine that asks who we are, {' and '.join(own)}",
                try_="DOCKER_CERT_PATH=FOLDER",
            )

    def config(self) -> docker.tls.TLSConfig:
        """The same, as the docker SDK wants to be told."""
        from docker.tls import TLSConfig

        ca, *own = map(self._file, FILES)
        return TLSConfig(client_cert=own if all(own) else None, ca_cert=ca, verify=self.verify)

    def context(self) -> ssl.SSLContext:
        """What connections are made with: as strict as ``docker``, and no stricter.

        Since Python 3.13 an authority without the extension *key usage* is refused (ssl.create_default_context), and one that
        was made as Docker's manual says (engine/security/protect-access) has none.
        """
        ca, cert, key = map(self._file, FILES)
        context = ssl.create_default_context(cafile=ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cert and key:
            context.load_cert_chain(cert, key)
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    @property
    def blind(self) -> bool:
        """Whether no authority is there to go by."""
        return self._file("ca.pem") is None

    def _file(self, name: str) -> str | None:
        file = self.folder / name
        return str(file) if file.is_file() else None


@dataclass(frozen=True)
class Address:
    """An engine's *url*, the *source* that it was taken from (a docker *context*, say), and its *tls*, None for plain HTTP."""

    url: str
    source: str
    tls: Tls | None = None
    context: str = ""

    def connect(self, kind: Callable[..., docker.DockerClient]) -> docker.DockerClient:
        """A client of the docker SDK for it; *kind* makes it."""
        if self.tls is None and not self._on_loopback:
            return kind(base_url=self.url, version="auto", timeout=TIMEOUT)
        from docker.constants import MINIMUM_DOCKER_API_VERSION

        tls = self.tls and self.tls.config()
        client = kind(base_url=self.url, version=MINIMUM_DOCKER_API_VERSION, timeout=TIMEOUT, tls=tls)
        # else REQUESTS_CA_BUNDLE of the user's shell takes the place of ca.pem (psf/requests, issue 3829), and http_proxy is
        # asked for what is on the loopback, as `docker` never does (Go's net/http, ProxyFromEnvironment); it must be said
        # before the first request, so the version is asked for only now
        client.api.trust_env = False
        if self.tls:
            client.api.mount("https://", _adapter(self.tls.context()))
        client.api._version = client.api._retrieve_server_version()
        return client

    @property
    def _on_loopback(self) -> bool:
        with suppress(ValueError):  # no such URL, or a name
            host = urlsplit(self.url).hostname or ""
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        return False

    def environ(self) -> dict[str, str]:
        """Environment variables with which ``docker`` reaches it, whichever engine the user's shell is set up for."""
        named = self.context if self.tls and self.tls.blind else ""
        if named:  # with other variables it wants a ca.pem, also where it does not look at it
            return {"DOCKER_HOST": "", "DOCKER_CONTEXT": named, "DOCKER_TLS": "", "DOCKER_TLS_VERIFY": ""}
        return {
            "DOCKER_HOST": self.url,
            "DOCKER_CONTEXT": "",
            "DOCKER_TLS": "1" if self.tls else "",
            "DOCKER_TLS_VERIFY": "1" if self.tls and self.tls.verify else "",
            **({"DOCKER_CERT_PATH": str(self.tls.folder)} if self.tls else {}),
        }


def _adapter(context: ssl.SSLContext) -> requests.adapters.HTTPAdapter:
    """What makes an HTTP client connect with *context*."""
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, ssl_context=context, **options)

    return Adapter()


def find(url: str | None = None, context: str | None = None) -> Address:
    """The engine at *url*, or of the docker *context*; without both, ``DOCKER_HOST``, ``DOCKER_CONTEXT``, the current one.

    ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` hold for a ``tcp://`` engine that no context names (docker(1)).  Raises
    `UsageError` for a context that does not exist, a transport that is not supported, and certificates that are missing.
    """
    address = _named(url) if url else _from_environment(context)
    if address.url.partition("://")[0] not in ("unix", "tcp", "http", "https"):
        raise UsageError(
            f"engines cannot be reached this way yet: {address.url}",
            seen=address.source,
            expected="unix:///path or tcp://host:port",
        )
    if address.tls:
        address.tls.check(address.source)
    return address


def _named(url: str, source: str = "url") -> Address:
    wanted = bool(os.environ.get("DOCKER_TLS_VERIFY")) and not url.startswith("unix://")
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or _config())
    return Address(url, source, Tls(folder, verify=True) if wanted else None)


def _from_environment(context: str | None) -> Address:
    if not context and os.environ.get("DOCKER_HOST"):
        return _named(os.environ["DOCKER_HOST"], "DOCKER_HOST")
    chosen = context or os.environ.get("DOCKER_CONTEXT") or _current_context()
    if chosen in (None, "", "default"):
        return Address(DEFAULT_URL, "default socket")
    return _of_context(str(chosen))


def _of_context(name: str) -> Address:
    """Read as docker(1) keeps it; the SDK's reader looks in the current folder where there is no ``config.json``."""
    folder, digest = _config() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    try:
        endpoint = _json(folder / f"meta/{digest}/meta.json")["Endpoints"]["docker"]
        url = str(endpoint["Host"])
    except (OSError, ValueError, KeyError):
        known = [str(_json(file).get("Name")) for file in sorted(folder.glob("meta/*/meta.json"))]
        raise UsageError(
            "no such docker context", seen=repr(name), expected=", ".join(["default", *known])
        ) from None
    tls = Tls(folder / f"tls/{digest}/docker", verify=not endpoint.get("SkipTLSVerify"))
    wanted = tls.folder.is_dir() or not (tls.verify or url.startswith("unix://"))
    return Address(url, f"context {name}", tls if wanted else None, name)


def _config() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _current_context() -> str | None:
    with suppress(OSError, ValueError):
        return _json(_config() / "config.json").get("currentContext")
    return None


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))
