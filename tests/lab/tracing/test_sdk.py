"""Requests as calls of docker-py: what is shown, typed as it stands, sends the request that it was made of."""

from __future__ import annotations

import io
import json
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import docker
import pytest

from labkit.engine import Engine
from labkit.engine.exchanges import Exchange
from labkit.engine.relay import Relay
from labkit.lab.tracing.asked import NoCall, said
from labkit.lab.tracing.sdk import ENDPOINTS, WITHOUT, translate

NOWHERE = "127.0.0.1:1/app"
"""An image of a registry that refuses at once."""
ARCHIVE = io.BytesIO()
with tarfile.open(fileobj=ARCHIVE, mode="w"):
    pass

CREATED = {
    "Image": "busybox:lab",
    "Cmd": ["sleep", "9"],
    "Env": ["A=b"],
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "Labels": {"by": "ada"},
    "HostConfig": {"Memory": 67108864, "RestartPolicy": {"Name": "always"}, "NetworkMode": "default"},
}
EXAMPLES: dict[tuple[str, str], list[tuple[str, dict[str, object], object]]] = {
    ("GET", "/_ping"): [("", {}, None)],
    ("GET", "/info"): [("", {}, None)],
    ("GET", "/version"): [("", {}, None)],
    ("GET", "/system/df"): [("", {}, None)],
    ("GET", "/events"): [("", {"since": 1, "until": 2, "filters": {"type": {"container": True}}}, None)],
    ("POST", "/auth"): [("", {}, {"username": "ada", "password": "hunter22"})],
    ("GET", "/distribution/(.+)/json"): [(f"/distribution/{NOWHERE}/json", {}, None)],
    ("GET", "/containers/json"): [("", {"all": 1, "limit": 3, "filters": {"name": {"web": True}}}, None)],
    ("POST", "/containers/create"): [
        ("", {"name": "made"}, CREATED),
        ("", {"name": "whole"}, {"Image": "busybox:lab", "Cmd": ["true"], "OnBuild": ["RUN true"]}),
    ],
    ("POST", "/containers/prune"): [("", {"filters": {"label": {"nobody": True}}}, None)],
    ("GET", "/containers/([^/]+)/json"): [("/containers/web/json", {}, None)],
    ("GET", "/containers/([^/]+)/top"): [("/containers/web/top", {"ps_args": "aux"}, None)],
    ("GET", "/containers/([^/]+)/logs"): [
        ("/containers/web/logs", {"stdout": 1, "tail": 5, "timestamps": 1}, None),
        ("/containers/old/logs", {"stdout": 1, "stderr": 1, "follow": 1, "since": 1}, None),
    ],
    ("GET", "/containers/([^/]+)/changes"): [("/containers/web/changes", {}, None)],
    ("GET", "/containers/([^/]+)/export"): [("/containers/old/export", {}, None)],
    ("GET", "/containers/([^/]+)/stats"): [
        ("/containers/web/stats", {"stream": 0}, None),
        ("/containers/web/stats", {}, None),
    ],
    ("GET", "/containers/([^/]+)/archive"): [("/containers/web/archive", {"path": "/bin"}, None)],
    ("PUT", "/containers/([^/]+)/archive"): [("/containers/web/archive", {"path": "/"}, ARCHIVE.getvalue())],
    ("POST", "/containers/([^/]+)/start"): [("/containers/web/start", {}, None)],
    ("POST", "/containers/([^/]+)/stop"): [("/containers/old/stop", {"t": 1}, None)],
    ("POST", "/containers/([^/]+)/restart"): [("/containers/nobody/restart", {"t": 1}, None)],
    ("POST", "/containers/([^/]+)/kill"): [("/containers/web/kill", {"signal": "SIGUSR1"}, None)],
    ("POST", "/containers/([^/]+)/pause"): [("/containers/web/pause", {}, None)],
    ("POST", "/containers/([^/]+)/unpause"): [("/containers/web/unpause", {}, None)],
    ("POST", "/containers/([^/]+)/rename"): [("/containers/old/rename", {"name": "older"}, None)],
    ("POST", "/containers/([^/]+)/update"): [
        ("/containers/web/update", {}, {"CpuShares": 512, "RestartPolicy": {"Name": "no"}})
    ],
    ("POST", "/containers/([^/]+)/resize"): [("/containers/web/resize", {"h": 24, "w": 80}, None)],
    ("POST", "/containers/([^/]+)/attach"): [("/containers/older/attach", {"logs": 1, "stream": 1}, None)],
    ("POST", "/containers/([^/]+)/wait"): [("/containers/older/wait", {"condition": "not-running"}, None)],
    ("DELETE", "/containers/([^/]+)"): [("/containers/made", {"force": 1, "v": 1}, None)],
    ("POST", "/containers/([^/]+)/exec"): [
        ("/containers/web/exec", {}, {"Cmd": ["true"], "User": "0", "Env": ["A=b"], "AttachStdout": True})
    ],
    ("POST", "/exec/([^/]+)/start"): [("/exec/EXEC/start", {}, {"Detach": True})],
    ("GET", "/exec/([^/]+)/json"): [("/exec/EXEC/json", {}, None)],
    ("POST", "/exec/([^/]+)/resize"): [("/exec/EXEC/resize", {"h": 24, "w": 80}, None)],
    ("GET", "/images/json"): [("", {"all": 1, "filters": {"reference": {"busybox": True}}}, None)],
    ("POST", "/images/create"): [
        ("", {"fromImage": NOWHERE, "tag": "lab"}, None),
        ("", {"fromSrc": "-", "repo": "imported", "tag": "one"}, ARCHIVE.getvalue()),
    ],
    ("POST", "/images/prune"): [("", {"filters": {"label": {"nobody": True}}}, None)],
    ("POST", "/images/load"): [("", {}, ARCHIVE.getvalue())],
    ("GET", "/images/search"): [("", {"term": NOWHERE, "limit": 3}, None)],
    ("GET", "/images/(.+)/json"): [("/images/busybox:lab/json", {}, None)],
    ("GET", "/images/(.+)/history"): [("/images/busybox:lab/history", {}, None)],
    ("GET", "/images/(.+)/get"): [("/images/busybox:lab/get", {}, None)],
    ("POST", "/images/(.+)/tag"): [("/images/busybox:lab/tag", {"repo": NOWHERE, "tag": "one"}, None)],
    ("POST", "/images/(.+)/push"): [(f"/images/{NOWHERE}/push", {"tag": "one"}, None)],
    ("DELETE", "/images/(.+)"): [(f"/images/{NOWHERE}:one", {"force": 1}, None)],
    ("POST", "/commit"): [("", {"container": "older", "repo": "made", "tag": "one", "comment": "so"}, None)],
    ("POST", "/build"): [("", {"t": "made:two"}, None)],
    ("POST", "/build/prune"): [("", {"filters": {"id": {"nobody": True}}}, None)],
    ("GET", "/volumes"): [("", {"filters": {"dangling": {"true": True}}}, None)],
    ("POST", "/volumes/create"): [("", {}, {"Name": "data", "Labels": {"by": "ada"}, "Driver": "local"})],
    ("POST", "/volumes/prune"): [("", {"filters": {"label": {"nobody": True}}}, None)],
    ("GET", "/volumes/([^/]+)"): [("/volumes/data", {}, None)],
    ("DELETE", "/volumes/([^/]+)"): [("/volumes/data", {}, None)],
    ("GET", "/networks"): [("", {"filters": {"driver": {"bridge": True}}}, None)],
    ("POST", "/networks/create"): [
        ("", {}, {"Name": "net", "Driver": "bridge", "Internal": True, "Labels": {"by": "ada"}})
    ],
    ("POST", "/networks/prune"): [("", {"filters": {"label": {"nobody": True}}}, None)],
    ("GET", "/networks/([^/]+)"): [("/networks/net", {}, None)],
    ("POST", "/networks/([^/]+)/connect"): [
        ("/networks/net/connect", {}, {"Container": "web", "EndpointConfig": {"Aliases": ["shop"]}})
    ],
    ("POST", "/networks/([^/]+)/disconnect"): [
        ("/networks/net/disconnect", {}, {"Container": "web", "Force": True})
    ],
    ("DELETE", "/networks/([^/]+)"): [("/networks/net", {}, None)],
}
"""For each endpoint its paths (empty: the pattern itself), queries and bodies."""
NOT_COMPARED = {
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Detach",
    "Tty",
    "StdinOnce",
    "CheckDuplicate",
    "NetworkMode",
}
"""What docker-py decides itself, or leaves to the engine."""


def exchange(method: str, path: str, query: dict[str, object], body: object) -> Exchange:
    asked = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in query.items()}
    found = Exchange(method, f"/v1.41{path}" + (f"?{urlencode(asked)}" if asked else ""), time.perf_counter())
    if body is not None:
        found.request.add(body if isinstance(body, bytes) else json.dumps(body).encode())
    return found


def test_each_endpoint_has_an_example() -> None:
    """None is translated without being tried, and none twice."""
    assert sorted(EXAMPLES) == sorted((each.method, each.pattern) for each in ENDPOINTS)


def test_each_call_sends_its_request(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that is shown, executed as it is, sends the method, the path, the query and the body that it was made of."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL by=ada\n")
    monkeypatch.chdir(tmp_path)
    engine.client.containers.run("busybox:lab", ["sleep", "99"], name="web", detach=True)
    engine.client.containers.create("busybox:lab", ["true"], name="old")
    execution = engine.client.api.exec_create("web", ["true"])["Id"]
    given = {
        "archive": ARCHIVE.getvalue(),
        "username": "ada",
        "password": "hunter22",
        "registry": "127.0.0.1:1",
    }
    with Relay(engine) as relay:
        api = docker.APIClient(base_url=relay.url, version="auto", timeout=60)
        for (method, pattern), examples in EXAMPLES.items():
            for path, query, body in examples:
                wanted = exchange(method, (path or pattern).replace("EXEC", execution), query, body)
                _, call = translate(wanted, {}, {})
                already = len(relay.exchanges)
                with suppress(
                    docker.errors.DockerException
                ):  # that the engine cannot do it is not the question
                    eval(call.code.partition(" = ")[2] if call.result else call.code, {"api": api, **given})
                sent = relay.exchanges[already:]
                assert any(_same(wanted, each) for each in sent), (
                    call.code,
                    [(e.method, e.target) for e in sent],
                )
        api.close()


def _same(wanted: Exchange, sent: Exchange) -> bool:
    if (wanted.method, wanted.path) != (sent.method, sent.path) or not _query(wanted) <= _query(sent):
        return False
    if wanted.path in ("/auth", "/build") or not wanted.request.size:
        return True
    if wanted.request.head[:1] != b"{":
        return wanted.path == "/images/create" or wanted.request.head == sent.request.head
    return _compared(wanted) == _compared(sent)


def _query(exchange: Exchange) -> set[tuple[str, str]]:
    """The query, however a switch or a filter is written."""
    found = set()
    for key, value in parse_qsl(exchange.query):
        if key == "filters":
            told = json.dumps({name: list(values) for name, values in sorted(json.loads(value).items())})
        else:
            told = {"True": "1", "true": "1", "False": "0", "1.0": "1"}.get(value, value)
        found.add((key, told))
    return found


def _compared(exchange: Exchange) -> object:
    def without(thing: object) -> object:
        if isinstance(thing, dict):
            return {key: without(value) for key, value in said(thing).items() if key not in NOT_COMPARED}
        return thing

    body = json.loads(exchange.request.head)
    if exchange.path.endswith("/exec"):
        body.pop("Container", None)  # docker-py says again what stands in the path
    return without(body)


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("HEAD", "/_ping", None, "GET /version"),
        ("POST", "/session", None, "BuildKit"),
        ("GET", "/images/get", None, "one image at a time"),
        ("POST", "/swarm/init", None, "not translated"),
        ("DELETE", "/volumes/data?force=1", None, "does not pass force on"),
        ("POST", "/containers/web/update", {"NanoCpus": 5}, "cannot say NanoCpus"),
        ("POST", "/containers/web/exec", {"Cmd": ["true"], "ConsoleSize": [9, 9]}, "cannot say ConsoleSize"),
        (
            "POST",
            "/networks/net/connect",
            {"Container": "web", "EndpointConfig": {"GwPriority": 1}},
            "cannot say GwPriority",
        ),
        ("PUT", "/containers/web/archive", b"x" * 70_000, "70000 bytes, was not kept"),
    ],
)
def test_what_docker_py_cannot_say_is_told(method: str, path: str, body: object, why: str) -> None:
    """Where there is no call that does the same, the reason takes its place; none is shown that does something else."""
    with pytest.raises(NoCall, match=why):
        translate(exchange(method, path, {}, body), {}, {})
    assert WITHOUT


def test_code_reads_as_a_person_writes_it() -> None:
    """Defaults are left out, what was made before is a variable, secrets are masked, ids are names."""
    body = {
        **CREATED,
        "Env": ["DB_PASSWORD=hunter22"],
        "Volumes": {},
        "ExposedPorts": {},
        "Labels": {},
        "Domainname": "",
        "HostConfig": {
            "Memory": 0,
            "MemorySwappiness": -1,
            "RestartPolicy": {"Name": "no"},
            "ConsoleSize": [0, 0],
        },
    }
    _, call = translate(exchange("POST", "/containers/create", {"name": "web"}, body), {}, {})
    assert call.code == (
        'container = api.create_container("busybox:lab", ["sleep", "9"], name="web", '
        'environment=["DB_PASSWORD=••••••"])["Id"]'
    )
    _, call = translate(
        exchange("POST", f"/containers/{'ab' * 32}/start", {}, None), {"ab" * 32: "container"}, {}
    )
    assert call.code == "api.start(container)"
    _, call = translate(
        exchange("GET", f"/containers/{'cd' * 32}/logs", {"stdout": 1, "stderr": 1}, None),
        {},
        {"cd" * 32: "web"},
    )
    assert call.code == 'api.logs("web")'
