"""One command in three views, on a live engine."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.engine import Engine
from labkit.errors import LabkitError, UsageError
from labkit.lab.changes import Looks
from labkit.lab.tracing import Trace, recording, trace
from labkit.lab.tracing.twice import why_not_twice
from labkit.lab.tracing.typed import run, words

pytestmark = pytest.mark.timeout(600)

LOOP = "sh -c 'while :; do sleep 0.05; done'"


def requests(found: Trace) -> list[str]:
    """The requests but for the first, with which the command asks for the API's version."""
    return [step.request for step in found.steps if step.target != "/_ping"]


def why(found: Trace, method: str) -> str:
    """Why the call of this *method* was not executed."""
    return next(step.performed.why for step in found.steps if f"api.{method}(" in step.code)


def inventory(engine: Engine) -> dict[str, list[str]]:
    client = engine.client
    return {
        "containers": sorted(each.name for each in client.containers.list(all=True)),
        "volumes": sorted(each.name for each in client.volumes.list()),
        "networks": sorted(each.name for each in client.networks.list()),
        "images": sorted(tag for each in client.images.list() for tag in each.tags),
    }


def test_run_in_three_views(engine: Engine) -> None:
    """A command's line, output and exit code; its requests in order; the calls that do the same, each with its time."""
    found = trace(engine, "docker run --rm --name web -m 64m busybox:lab sh -c 'echo hi; exit 3'")
    assert (found.command.code, found.command.output) == (3, "hi\n")
    version = engine.client.version()["ApiVersion"]
    assert requests(found) == [
        f"POST /v{version}/containers/create?name=web → 201",
        f"POST /v{version}/containers/‹web›/attach?stderr=1&stdout=1&stream=1 → 101, then a stream",
        f"POST /v{version}/containers/‹web›/wait?condition=removed → 200",
        f"POST /v{version}/containers/‹web›/start → 204",
    ]
    assert [step.code for step in found.steps if step.code] == [
        'container = api.create_container("busybox:lab", ["sh", "-c", "echo hi; exit 3"], name="web", '
        'host_config={"AutoRemove": True, "Memory": 67108864})["Id"]',
        "api.attach(container, stream=True)",
        'api.wait(container, condition="removed")',
        "api.start(container)",
    ]
    assert all(step.seconds and (not step.code or step.performed.seconds) for step in found.steps)
    assert not any(step.performed.why for step in found.steps if step.code)
    assert inventory(engine) == {
        "containers": [],
        "volumes": [],
        "networks": ["bridge", "host", "none"],
        "images": ["busybox:lab"],
    }


def test_what_changes_is_done_on_a_twin(engine: Engine) -> None:
    """Each command takes effect once; its calls are executed on twins in the same state, of which nothing is left."""
    api = engine.client.api
    lines = {
        "docker volume create data": "create_volume",
        "docker network create net": "create_network",
        "docker create --name web -v /anon busybox:lab " + LOOP: "create_container",
        "docker start web": "start",
        "docker exec web touch /made": "exec_start",
        "docker pause web": "pause",
        "docker unpause web": "unpause",
        "docker update --cpu-shares 512 web": "update_container",
        "docker network connect net web": "connect_container_to_network",
        "docker network disconnect net web": "disconnect_container_from_network",
        "docker commit web made:one": "commit",
        "docker tag made:one made:two": "tag",
        "docker rmi made:two": "remove_image",
        "docker kill web": "kill",
        "docker rename web shop": "rename",
        "docker rm -v shop": "remove_container",
        "docker network rm net": "remove_network",
        "docker volume rm data": "remove_volume",
    }
    for line, method in lines.items():
        before = inventory(engine)
        found = trace(engine, line)
        assert found.command.code == 0, found
        performed = next(step.performed for step in found.steps if f"api.{method}(" in step.code)
        assert performed.seconds and not performed.why and not performed.raised, (line, performed)
        twins = [name for names in inventory(engine).values() for name in names if "twin" in name]
        assert not twins, line
        if method in ("pause", "update_container", "exec_start"):
            assert inventory(engine) == before
        if method == "exec_start":
            assert {"Path": "/made", "Kind": 1} in api.diff("web")
    assert inventory(engine)["images"] == ["busybox:lab", "made:one"]
    api.remove_image("made:one")


def test_what_cannot_be_done_twice_says_why(engine: Engine) -> None:
    """A volume, a fixed port, a network of one's own, a refusal, a stop: the call is shown with the reason, and not executed."""
    run = "docker run -d --name"
    engine.client.networks.create("net")
    for number, (option, reason) in enumerate(
        {
            "-v data:/data": "it would write to data a second time",
            "-p 8080:80": "port 8080 can be published only once",
            "--network net": "a second one would be on the network net",
        }.items()
    ):
        found = trace(engine, f"{run} web{number} {option} busybox:lab {LOOP}")
        assert found.command.code == 0 and why(found, "start") == reason
        assert why(found, "wait") == "the command did not wait for the answer"
        assert not why(found, "create_container")
    assert (
        why(trace(engine, f"docker run --name web0 busybox:lab {LOOP}"), "create_container")
        == "the engine refused it"
    )
    assert "would have just begun" in why(trace(engine, "docker stop -t 0 web1"), "stop")
    assert why(trace(engine, "docker start web1"), "start") == "port 8080 can be published only once"
    assert inventory(engine)["containers"] == ["web0", "web1", "web2"]
    assert inventory(engine)["volumes"] == ["data"]


def test_the_commands_own_errors(engine: Engine) -> None:
    """What does not exist gives docker's own words and exit code, and a read that fails raises in the call as well."""
    found = trace(engine, "docker nope")
    assert found.command.code == 1 and "nope" in found.command.output
    found = trace(engine, "docker logs nobody")
    assert found.command.code == 1 and "No such container: nobody" in found.command.output
    assert found.steps[-1].call == 'api.inspect_container("nobody")  # raises NotFound'


def test_text_is_the_same_every_time_and_times_are_apart(engine: Engine) -> None:
    """Printed, a trace repeats; its milliseconds are in `times`; the page says what the text says."""
    found = [trace(engine, "docker run --rm busybox:lab echo hi") for _ in range(2)]
    assert repr(found[0]) == repr(found[1])
    assert " ms" not in repr(found[0]) and found[0].times.count(" ms  ") > 8
    data, _ = found[0]._repr_mimebundle_()
    assert data["text/plain"] == repr(found[0])
    for line in ("api.start(container)", "/containers/‹container›/start → 204", "docker run --rm"):
        assert line in repr(found[0]) and line in data["text/html"]
    assert data["text/html"].count("<details") == 3


def test_secrets_are_in_no_view(engine: Engine) -> None:
    """A password of the command line is masked wherever it appears: line, output, bodies, calls; a login's is never kept."""
    found = trace(
        engine, "docker run --rm -e DB_PASSWORD=hunter22 busybox:lab sh -c 'env; echo $DB_PASSWORD'"
    )
    assert "DB_PASSWORD=••••••" in repr(found) and "\n    ••••••" in repr(found)
    login = trace(engine, "docker login -u ada -p hunter22 127.0.0.1:1")
    assert login.command.code == 1
    for shown in (found, login):
        told = (
            shown.times
            + repr(shown)
            + shown._static()
            + "".join(step.answered + step.sent for step in shown.steps)
        )
        assert "hunter22" not in told


def test_an_output_that_is_long_is_cut_and_says_so() -> None:
    """What is left out is told, in characters; what fits is whole."""
    assert recording._cut("x" * recording.LONGEST) == "x" * recording.LONGEST
    assert recording._cut("x" * (recording.LONGEST + 5)).endswith("xx\n… and 5 more characters")


def test_a_command_that_goes_on_is_ended(engine: Engine) -> None:
    """After the time that was given it is ended as by Ctrl-C, and what it did until then is shown."""
    engine.client.containers.run("busybox:lab", ["sleep", "99"], name="web", detach=True)
    found = trace(engine, "docker logs -f web", seconds=5)
    assert found.command.ended == 5 and "interrupted after 5 s (ended by signal 2)" in repr(found)
    assert "did not wait" in why(found, "logs")
    assert trace(engine, f"docker run --rm busybox:lab {LOOP}", seconds=2).command.ended


@pytest.mark.parametrize(
    ("line", "of", "told"),
    [
        ("docker run --rm busybox:lab no-such-program", "start", "raises APIError"),
        ("docker run --rm -i busybox:lab cat", "attach", "nobody types a second time"),
        ("docker run -di --rm busybox:lab sh", "start", ""),
    ],
)
def test_nobody_waits_for_a_twin_that_does_not_end(engine: Engine, line: str, of: str, told: str) -> None:
    """A program that cannot be started, or that reads what is typed, ends no trace late, and leaves no twin."""
    threads = set(threading.enumerate())
    found = trace(engine, line)
    step = next(step for step in found.steps if f"api.{of}(" in step.call or f"/{of}" in step.target)
    assert told in f"{step.call} {step.performed.why}", step
    assert not [name for name in inventory(engine)["containers"] if "twin" in name]
    new = set(threading.enumerate()) - threads
    assert not [each.name for each in new if each.name.startswith("labkit-")]


def test_words_that_no_program_can_be_given(engine: Engine) -> None:
    """A command that the operating system refuses gives one message, and leaves no socket."""
    for line in ("docker " + "x" * 200_000, "docker run 'a\0b'"):
        with pytest.raises(LabkitError, match="cannot be run with these words"):
            trace(engine, line)


@pytest.mark.parametrize("seconds", [0, -1, "2", float("nan"), float("inf"), None, True])
def test_a_time_that_is_none_is_told(seconds: Any) -> None:
    """Nonsense instead of seconds is one message, before anything is run."""
    with pytest.raises(UsageError, match="no such time"):
        run(["/nonexistent"], {}, seconds)


def children() -> set[str]:
    """The processes that this thread has started, and not heard the end of."""
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


def test_an_interrupt_leaves_nothing(engine: Engine, own_folders: tuple[Path, Path]) -> None:
    """Ctrl-C in the middle ends the command; no process, thread, socket or twin remains."""
    threads, processes = set(threading.enumerate()), children()
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        trace(engine, "docker events")
    assert not list(own_folders[1].glob("trace-*"))
    new = set(threading.enumerate()) - threads
    assert not [each.name for each in new if each.name.startswith("labkit-")]
    assert children() <= processes, "also none that has ended and was not heard of"
    assert inventory(engine)["containers"] == []


def test_a_shared_engine_is_asked_but_not_changed_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared engine only what reads is executed as calls."""
    monkeypatch.setenv("PATH", engine.environ["PATH"])  # there may be no docker command on the machine
    with labkit.open_engine("attach", url=engine.url) as shared:
        found = trace(shared, "docker create --name web busybox:lab true")
        assert why(found, "create_container") == "a shared engine: nothing is done there twice"
        assert trace(shared, "docker ps -a").steps[-1].performed.seconds


def test_a_trace_is_no_change(engine: Engine) -> None:
    """What a trace does beside its command is not told as a change."""
    looks = Looks(engine)
    looks.begin()
    for line in (
        "docker run --rm -v /anon busybox:lab true",
        "docker tag busybox:lab made:one",
        "docker volume create data",
    ):
        looks.leave_out(trace(engine, line).aside)
    told = repr(looks.changed())
    assert "made:one" in told and "volume data" in told and "twin" not in told
    assert told.count("destroy") == 2, told  # of the container and its volume, once each
    engine.client.api.remove_image("made:one")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "no command"),
        ("   ", "no command"),
        ("!docker ps", "only docker"),
        ("podman ps", "podman"),
        ("DOCKER_BUILDKIT=0 docker build .", "only docker"),
        ("docker ps | wc -l", r"no shell[^$]*'\|'"),
        ("docker ps > file", "no shell"),
        ("docker ps; docker ps", "no shell"),
        ("docker rm $(docker ps -q)", "no shell"),
        ('docker run busybox echo "$HOME"', r"'\$'"),
        ("docker run busybox echo 'open", "cannot be read"),
        ("docker -H tcp://elsewhere ps", "-H"),
        ("docker --context other ps", "--context"),
        ("docker --debug -c other ps", "-c"),
        ("docker -DH tcp://elsewhere:1 ps", "-DH"),
        ("docker -l debug --log-level info -H tcp://elsewhere:1 ps", "-H"),
    ],
)
def test_anything_but_one_docker_command_is_refused(line: str, told: str) -> None:
    """One message says what was seen, before anything is run."""
    with pytest.raises(UsageError, match=told):
        words(line)


def test_what_is_quoted_is_plain_text() -> None:
    """Signs of the shell in quotes are the container's; a line may go on after a backslash."""
    assert words("docker run x sh -c 'a | b > $c; d'")[-1] == "a | b > $c; d"
    assert words('docker run x sh -c "a | b"')[-1] == "a | b"
    assert words("docker run \\\n  -d x") == ["docker", "run", "-d", "x"]
    assert words("docker exec -c=1 x")[-1] == "x"
    assert words("docker -l -H ps")[-1] == "ps"  # a level, though none that docker knows


def test_without_docker_it_says_so(
    engine: Engine, own_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no docker program, one message says so, and the relay is gone."""
    environ: Any = property(lambda self: {"DOCKER_HOST": self.url, "PATH": str(tmp_path)})
    monkeypatch.setattr(type(engine), "environ", environ)
    with pytest.raises(LabkitError, match="no docker command"):
        trace(engine, "docker ps")
    assert not list(own_folders[1].glob("trace-*"))


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ({}, ""),
        (
            {"Memory": 5, "NetworkMode": "bridge", "IpcMode": "private", "RestartPolicy": {"Name": "always"}},
            "",
        ),
        ({"Binds": ["data:/data:ro"]}, ""),
        ({"Binds": ["/src:/data"]}, "write to /src"),
        ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/d"}]}, "write to data"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/d"}]}, ""),
        ({"PortBindings": {"80/tcp": [{"HostPort": ""}]}}, ""),
        ({"NetworkMode": "host"}, "network host"),
        ({"NetworkMode": "container:web"}, "network container"),
        ({"PidMode": "host"}, "PidMode"),
        ({"Privileged": True}, "Privileged"),
        ({"IpcMode": "container:web"}, "IpcMode"),
    ],
)
def test_what_reaches_beyond_a_twin(host: dict[str, object], reason: str) -> None:
    """Only a container that reaches nothing but itself is made twice."""
    found = why_not_twice({"HostConfig": host})
    assert reason in found and bool(reason) == bool(found)


def test_the_process_environment_stays(engine: Engine) -> None:
    """A trace needs no `engine.use`, and changes nothing of this process's own docker."""
    before = dict(os.environ)
    assert trace(engine, "docker version").command.code == 0
    assert dict(os.environ) == before
