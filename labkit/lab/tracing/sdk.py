"""A request to the Engine API as the call of docker-py that sends it: what is shown is what can be executed.

One call for one request, of ``docker.APIClient``, whose methods are the API's own; `ENDPOINTS` has a line for each.  Where
docker-py has no call, or none that says the same, the reason is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labkit.engine.exchanges import Exchange
from labkit.lab.tracing import calls
from labkit.lab.tracing.asked import Asked, Call, Given, NoCall
from labkit.lab.tracing.calls import call, named, plain, pruning

__all__ = ["CHANGE", "ENDPOINTS", "MAKE", "READ", "Endpoint", "translate"]


READ = "read"
"""It changes nothing, and can be asked again."""
MAKE = "make"
"""It makes an object, and can make another."""
CHANGE = "change"
"""It changes one container, and can change one that is made like it."""


@dataclass(frozen=True)
class Endpoint:
    """A sort of request: its *method*, the *pattern* of its path, and the function that makes the *call*.

    *kind*: `READ`, `MAKE`, `CHANGE`, or ``never``, and then the reason is in *why*.  *waits*: the answer comes when something
    else has happened.
    """

    method: str
    pattern: str
    call: Callable[[Asked], Call]
    kind: str = READ
    why: str = ""
    waits: bool = False


NOTHING_LEFT = "there is nothing left to prune"
OUTSIDE = "it goes out to a registry"
TERMINAL = "it fits the size of a terminal, and there is none"
CONTAINER, IMAGE = r"/containers/([^/]+)", r"/images/(.+)"
VOLUME, NETWORK = r"/volumes/([^/]+)", r"/networks/([^/]+)"

ENDPOINTS = (
    Endpoint("GET", r"/_ping", plain("ping")),
    Endpoint("GET", r"/info", plain("info")),
    Endpoint("GET", r"/version", plain("version")),
    Endpoint("GET", r"/system/df", plain("df")),
    Endpoint(
        "GET",
        r"/events",
        lambda a: call(
            "events", since=a.number("since"), until=a.number("until"), filters=a.filters, decode=True
        ),
    ),
    Endpoint("POST", r"/auth", calls.login, "never", "it holds a password"),
    Endpoint("GET", r"/distribution/(.+)/json", named("inspect_distribution"), "never", OUTSIDE),
    # containers
    Endpoint(
        "GET",
        r"/containers/json",
        lambda a: call(
            "containers", all=a.on("all"), size=a.on("size"), limit=a.number("limit"), filters=a.filters
        ),
    ),
    Endpoint("POST", r"/containers/create", calls.create, MAKE),
    Endpoint("POST", r"/containers/prune", pruning("prune_containers"), "never", NOTHING_LEFT),
    Endpoint("GET", rf"{CONTAINER}/json", named("inspect_container")),
    Endpoint("GET", rf"{CONTAINER}/top", lambda a: call("top", a.the(), ps_args=a.text("ps_args"))),
    Endpoint("GET", rf"{CONTAINER}/logs", calls.logs),
    Endpoint("GET", rf"{CONTAINER}/changes", named("diff")),
    Endpoint("GET", rf"{CONTAINER}/export", named("export")),
    Endpoint("GET", rf"{CONTAINER}/stats", calls.stats),
    Endpoint("GET", rf"{CONTAINER}/archive", lambda a: call("get_archive", a.the(), a.text("path"))),
    Endpoint("PUT", rf"{CONTAINER}/archive", calls.put, CHANGE),
    Endpoint("POST", rf"{CONTAINER}/start", named("start"), CHANGE),
    Endpoint(
        "POST",
        rf"{CONTAINER}/stop",
        lambda a: call("stop", a.the(), timeout=a.number("t")),
        "never",
        "how long it takes is up to the process, and that of a twin would have just begun",
    ),
    Endpoint(
        "POST",
        rf"{CONTAINER}/restart",
        lambda a: call("restart", a.the(), timeout=a.number("t")),
        "never",
        "how long it takes is up to the process, and that of a twin would have just begun",
    ),
    Endpoint("POST", rf"{CONTAINER}/kill", lambda a: call("kill", a.the(), signal=a.text("signal")), CHANGE),
    Endpoint("POST", rf"{CONTAINER}/pause", named("pause"), CHANGE),
    Endpoint("POST", rf"{CONTAINER}/unpause", named("unpause"), CHANGE),
    Endpoint("POST", rf"{CONTAINER}/rename", lambda a: call("rename", a.the(), a.text("name")), CHANGE),
    Endpoint(
        "POST",
        rf"{CONTAINER}/update",
        calls.updated,
        CHANGE,
    ),
    Endpoint(
        "POST",
        rf"{CONTAINER}/resize",
        lambda a: call("resize", a.the(), a.number("h"), a.number("w")),
        "never",
        TERMINAL,
    ),
    Endpoint(
        "POST",
        rf"{CONTAINER}/attach",
        lambda a: call("attach", a.the(), stream=True, logs=a.on("logs")),
        CHANGE,
        waits=True,
    ),
    Endpoint(
        "POST",
        rf"{CONTAINER}/wait",
        lambda a: call("wait", a.the(), condition=a.text("condition")),
        CHANGE,
        waits=True,
    ),
    Endpoint("DELETE", CONTAINER, named("remove_container", v="v", link="link", force="force"), CHANGE),
    Endpoint("POST", rf"{CONTAINER}/exec", calls.executing, CHANGE),
    Endpoint(
        "POST",
        r"/exec/([^/]+)/start",
        lambda a: call(
            "exec_start", a.the(), detach=a.body.get("Detach") or None, tty=a.body.get("Tty") or None
        ),
        CHANGE,
    ),
    Endpoint("GET", r"/exec/([^/]+)/json", named("exec_inspect")),
    Endpoint(
        "POST",
        r"/exec/([^/]+)/resize",
        lambda a: call("exec_resize", a.the(), a.number("h"), a.number("w")),
        "never",
        TERMINAL,
    ),
    # images
    Endpoint("GET", r"/images/json", lambda a: call("images", all=a.on("all"), filters=a.filters)),
    Endpoint("POST", r"/images/create", calls.image_created, "never", OUTSIDE),
    Endpoint("POST", r"/images/prune", pruning("prune_images"), "never", NOTHING_LEFT),
    Endpoint(
        "POST",
        r"/images/load",
        lambda a: call("load_image", Given(b"", "archive")),
        "never",
        "the archive was not kept",
    ),
    Endpoint(
        "GET",
        r"/images/search",
        lambda a: call("search", a.text("term"), limit=a.number("limit")),
        "never",
        OUTSIDE,
    ),
    Endpoint("GET", rf"{IMAGE}/json", named("inspect_image")),
    Endpoint("GET", rf"{IMAGE}/history", named("history")),
    Endpoint("GET", rf"{IMAGE}/get", named("get_image")),
    Endpoint(
        "POST", rf"{IMAGE}/tag", lambda a: call("tag", a.the(), a.text("repo"), tag=a.text("tag")), CHANGE
    ),
    Endpoint("POST", rf"{IMAGE}/push", lambda a: call("push", a.the(), tag=a.text("tag")), "never", OUTSIDE),
    Endpoint("DELETE", IMAGE, named("remove_image", force="force", noprune="noprune"), CHANGE),
    Endpoint("POST", r"/commit", calls.committed, CHANGE),
    Endpoint(
        "POST",
        r"/build",
        lambda a: call("build", path=Given(".", '"."'), tag=a.text("t"), nocache=a.on("nocache")),
        "never",
        "the build context was not kept",
    ),
    Endpoint("POST", r"/build/prune", pruning("prune_builds"), "never", NOTHING_LEFT),
    # volumes and networks
    Endpoint("GET", r"/volumes", lambda a: call("volumes", filters=a.filters)),
    Endpoint("POST", r"/volumes/create", calls.volume, MAKE),
    Endpoint("POST", r"/volumes/prune", pruning("prune_volumes"), "never", NOTHING_LEFT),
    Endpoint("GET", VOLUME, named("inspect_volume")),
    Endpoint("DELETE", VOLUME, calls.volume_removed, CHANGE),
    Endpoint("GET", r"/networks", lambda a: call("networks", filters=a.filters)),
    Endpoint("POST", r"/networks/create", calls.network, MAKE),
    Endpoint("POST", r"/networks/prune", pruning("prune_networks"), "never", NOTHING_LEFT),
    Endpoint("GET", NETWORK, named("inspect_network")),
    Endpoint("DELETE", NETWORK, named("remove_network"), CHANGE),
    Endpoint("POST", rf"{NETWORK}/connect", calls.connected, CHANGE),
    Endpoint("POST", rf"{NETWORK}/disconnect", calls.disconnected, CHANGE),
)
"""Every request that is translated.  A new one is a line here, and an example in its test."""

WITHOUT = {
    (
        "HEAD",
        r"/_ping",
    ): "docker-py asks GET /version when it connects",
    ("HEAD", r"/containers/[^/]+/archive"): "docker-py does not ask what is there before it copies",
    ("POST", r"/(session|grpc)"): "BuildKit's own protocol: docker-py has only the classic builder",
    ("GET", r"/images/get"): "docker-py saves one image at a time: GET /images/NAME/get",
}
"""Requests that docker-py never sends, and why."""


def translate(exchange: Exchange, made: Mapping[str, str], names: Mapping[str, str]) -> tuple[Endpoint, Call]:
    """The endpoint and the call for the request of *exchange*; see `Asked` for *made* and *names*.  Raises `NoCall`."""
    for endpoint in ENDPOINTS:
        if endpoint.method == exchange.method and (found := re.fullmatch(endpoint.pattern, exchange.path)):
            return endpoint, endpoint.call(Asked(exchange, found.groups(), made, names))
    for (method, pattern), why in WITHOUT.items():
        if method == exchange.method and re.fullmatch(pattern, exchange.path):
            raise NoCall(why)
    raise NoCall("not translated")
