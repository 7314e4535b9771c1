"""Calls of docker-py, made of what a request says: those that take more than a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit.lab.tracing.asked import Asked, Call, Given, NoCall

__all__ = [
    "call",
    "committed",
    "connected",
    "create",
    "disconnected",
    "executing",
    "image_created",
    "login",
    "logs",
    "named",
    "network",
    "plain",
    "pruning",
    "put",
    "stats",
    "updated",
    "volume",
    "volume_removed",
]


def call(method: str, *arguments: Any, result: str = "", **options: Any) -> Call:
    """A call with those *options* that are not None."""
    return Call(
        method, arguments, {name: value for name, value in options.items() if value is not None}, result
    )


def create(asked: Asked) -> Call:
    """A new container: word for word, or by its whole configuration where docker-py lacks a word."""
    body, options = dict(asked.body), dict[str, Any]()
    image = body.pop("Image", "")
    command = body.pop("Cmd", None)
    for key, name in CREATED.items():
        if key in body:
            options[name] = body.pop(key)
    if "ExposedPorts" in body:
        ports = [port.partition("/")[::2] for port in body.pop("ExposedPorts")]
        options["ports"] = [(int(number), protocol) for number, protocol in ports]
    if "Volumes" in body:
        options["volumes"] = list(body.pop("Volumes"))
    for key in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"):
        body.pop(key, None)  # docker-py decides these by itself
    if body:
        config = {"Image": image, **({"Cmd": command} if command else {}), **asked.body}
        return call("create_container_from_config", config, name=asked.text("name"), result="container")
    words = [] if command is None else [command]
    return call(
        "create_container",
        image,
        *words,
        name=asked.text("name"),
        platform=asked.text("platform"),
        **options,
        result="container",
    )


CREATED = {
    "Hostname": "hostname",
    "Domainname": "domainname",
    "User": "user",
    "OpenStdin": "stdin_open",
    "Tty": "tty",
    "Env": "environment",
    "Entrypoint": "entrypoint",
    "WorkingDir": "working_dir",
    "Labels": "labels",
    "StopSignal": "stop_signal",
    "StopTimeout": "stop_timeout",
    "Healthcheck": "healthcheck",
    "NetworkDisabled": "network_disabled",
    "HostConfig": "host_config",
    "NetworkingConfig": "networking_config",
}
UPDATED = {
    "BlkioWeight": "blkio_weight",
    "CpuPeriod": "cpu_period",
    "CpuQuota": "cpu_quota",
    "CpuShares": "cpu_shares",
    "CpusetCpus": "cpuset_cpus",
    "CpusetMems": "cpuset_mems",
    "Memory": "mem_limit",
    "MemoryReservation": "mem_reservation",
    "MemorySwap": "memswap_limit",
    "KernelMemory": "kernel_memory",
    "RestartPolicy": "restart_policy",
}
EXECUTED = {
    "Cmd": "cmd",
    "AttachStdin": "stdin",
    "Tty": "tty",
    "Privileged": "privileged",
    "User": "user",
    "Env": "environment",
    "WorkingDir": "workdir",
    "DetachKeys": "detach_keys",
}
NETWORK = {
    "Driver": "driver",
    "Options": "options",
    "IPAM": "ipam",
    "CheckDuplicate": "check_duplicate",
    "Internal": "internal",
    "Labels": "labels",
    "EnableIPv6": "enable_ipv6",
    "Attachable": "attachable",
    "Scope": "scope",
    "Ingress": "ingress",
}
VOLUME = {"Name": "name", "Driver": "driver", "DriverOpts": "driver_opts", "Labels": "labels"}
ENDPOINT = {"Aliases": "aliases", "Links": "links", "DriverOpts": "driver_opt", "MacAddress": "mac_address"}


def updated(asked: Asked) -> Call:
    """Other limits, in bytes and shares as the API has them."""
    return call("update_container", asked.the(), **asked.only(UPDATED))


def volume(asked: Asked) -> Call:
    """A new volume."""
    return call("create_volume", **asked.only(VOLUME))


def volume_removed(asked: Asked) -> Call:
    """A volume that is removed."""
    if asked.on("force"):
        raise NoCall("docker-py's remove_volume does not pass force on")  # as of 7.2: it goes into no query
    return call("remove_volume", asked.the())


def executing(asked: Asked) -> Call:
    """A command that is to run in a container."""
    shown = {
        key: value
        for key, value in asked.body.items()
        if key not in ("AttachStdout", "AttachStderr", "Detach")
    }
    options = {EXECUTED[key]: value for key, value in shown.items() if key in EXECUTED}
    if unknown := sorted(set(shown) - set(EXECUTED)):
        raise NoCall(f"docker-py cannot say {', '.join(unknown)}")
    return call("exec_create", asked.the(), options.pop("cmd"), **options, result="execution")


def network(asked: Asked) -> Call:
    """A new network."""
    options = asked.only({**NETWORK, "Name": "name"})
    return call("create_network", options.pop("name"), **options, result="network")


def connected(asked: Asked) -> Call:
    """A container that joins a network, with what is said of its end there."""
    end = dict(asked.body.get("EndpointConfig") or {})
    addresses = dict(end.pop("IPAMConfig", {}))
    options = {ENDPOINT[key]: end.pop(key) for key in list(end) if key in ENDPOINT}
    options["ipv4_address"] = addresses.pop("IPv4Address", None)
    options["ipv6_address"] = addresses.pop("IPv6Address", None)
    options["link_local_ips"] = addresses.pop("LinkLocalIPs", None)
    if end or addresses:
        raise NoCall(f"docker-py cannot say {', '.join(sorted([*end, *addresses]))}")
    return call("connect_container_to_network", asked.the(asked.body["Container"]), asked.the(), **options)


def disconnected(asked: Asked) -> Call:
    """A container that leaves a network."""
    container = asked.the(asked.body["Container"])
    return call(
        "disconnect_container_from_network", container, asked.the(), force=asked.body.get("Force") or None
    )


def logs(asked: Asked) -> Call:
    """Both streams and all lines, unless something else is asked for."""
    tail = asked.text("tail")
    return call(
        "logs",
        asked.the(),
        stdout=None if asked.on("stdout") else False,
        stderr=None if asked.on("stderr") else False,
        stream=asked.on("follow"),
        timestamps=asked.on("timestamps"),
        tail=int(tail) if tail and tail.isdecimal() else None,
        since=asked.number("since"),
        until=asked.number("until"),
    )


def stats(asked: Asked) -> Call:
    """What a container uses: once, or again and again."""
    if asked.text("stream") in ("0", "false"):
        return call("stats", asked.the(), stream=False, one_shot=asked.on("one-shot"))
    return call("stats", asked.the(), decode=True)


def image_created(asked: Asked) -> Call:
    """A pull or an import."""
    if asked.text("fromSrc"):
        archive = Given(b"", "archive")
        return call("import_image", archive, repository=asked.text("repo"), tag=asked.text("tag"))
    return call("pull", asked.text("fromImage"), tag=asked.text("tag"), platform=asked.text("platform"))


def put(asked: Asked) -> Call:
    """An archive that is unpacked in a container."""
    sent = asked.exchange.request
    if not sent.whole:
        raise NoCall(f"its body, {sent.size} bytes, was not kept")
    return call("put_archive", asked.the(), asked.text("path"), Given(sent.head, "archive"))


def committed(asked: Asked) -> Call:
    """An image made of a container."""
    return call(
        "commit",
        asked.the(asked.text("container") or ""),
        repository=asked.text("repo"),
        tag=asked.text("tag"),
        message=asked.text("comment"),
        author=asked.text("author"),
        pause=False if asked.text("pause") in ("0", "false") else None,
        changes=asked.text("changes"),
        result="image",
    )


def login(asked: Asked) -> Call:
    """A login; whose, is not told."""
    return call("login", Given("", "username"), Given("", "password"), registry=Given(None, "registry"))


def pruning(method: str) -> Callable[[Asked], Call]:
    """What removes all that is not used."""
    return lambda asked: call(method, filters=asked.filters)


def named(method: str, **options: str) -> Callable[[Asked], Call]:
    """A call about what the path names; *options* of docker-py, by the switch of the query that they are."""
    return lambda asked: Call(
        method, (asked.the(),), {name: True for name, key in options.items() if asked.on(key)}
    )


def plain(method: str) -> Callable[[Asked], Call]:
    """A call that asks for nothing in particular."""
    return lambda asked: call(method)
