"""A kernel that is restarted in JupyterLab takes its lab up again; nothing is left when the server has ended."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

import labkit
from labkit import paths
from labkit.kernels import specs, starting
from tests.test_lab_server import Lab, gone

OPEN = """
import labkit.lab
lab = labkit.lab.open("30-container-states", name="ada", image="busybox:lab")
"""
CREATE = 'lab.engine.client.containers.create("busybox:lab", name="ada")'


class Notebook:
    """A notebook that is open in the JupyterLab of *lab*, under this *name*, with a kernel of this kind."""

    def __init__(self, lab: Lab, name: str, kernel: str = "python3") -> None:
        self.api, self.token = lab.url.split("/lab/")[0] + "/api", lab.url.partition("?token=")[2]
        about = {"path": f"notebooks/{name}", "name": name, "type": "notebook", "kernel": {"name": kernel}}
        self.kernel = self.ask("sessions", about)["kernel"]["id"]
        self.client = self.connect()

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Any:
        request = urllib.request.Request(
            f"{self.api}/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
            method=method,
        )
        answer = urllib.request.urlopen(request, timeout=120).read()
        return json.loads(answer) if answer else None

    def connect(self) -> BlockingKernelClient:
        client = BlockingKernelClient(
            connection_file=str(paths.home() / f"jupyter/runtime/kernel-{self.kernel}.json")
        )
        client.load_connection_file()
        client.start_channels(hb=False)  # a heart that has not beaten yet counts as dead
        client.wait_for_ready(timeout=120)
        return client

    def run(self, code: str) -> str:
        """What the cell prints; an error is one of the test's."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            said.append(message["content"].get("text", ""))

        reply = self.client.execute_interactive(code, output_hook=hear, timeout=120)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(said)

    def restart(self) -> None:
        self.client.stop_channels()
        self.ask(f"kernels/{self.kernel}/restart", {})
        self.client = self.connect()

    def end(self) -> None:
        self.client.stop_channels()
        self.ask(f"kernels/{self.kernel}", method="DELETE")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A `labkit lab` with forked kernels at hand, which leaves neither engine nor process."""
    prefix = tmp_path_factory.mktemp("prefix")
    specs.install(prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_ZYGOTE", "1")
        patch.setenv("JUPYTER_PATH", str(prefix / "share/jupyter"))
        running = Lab()
        patch.setenv("LABKIT_RUNTIME", str(running.runtime))
        yield running
        running.end(signal.SIGTERM)
        starting.end_all()
    assert gone(running)


@pytest.mark.parametrize("kernel", ["python3", "labkit"])
def test_a_restarted_kernel_takes_its_engine_up_again(lab: Lab, kernel: str) -> None:
    """With all that is on it, said in words; so does a new kernel of the same notebook; after a reset it is as at the start."""
    notebook = Notebook(lab, f"a-{kernel}.ipynb", kernel)
    told = notebook.run(OPEN)
    assert "private: it ends with the notebook server" in told and "again" not in told
    notebook.run(CREATE)
    engine = notebook.run("print(lab.engine.id)")
    before = notebook.run("lab.progress.predicted('Which?', True); print(lab.progress)")
    assert "1 right of 1" in before
    notebook.restart()
    told = notebook.run(OPEN)
    assert "taken up again, with what is on it: containers ada" in told and "lab.reset()" in told
    assert notebook.run("print(lab.engine.id)") == engine
    assert notebook.run("print(lab.progress)") == before
    notebook.end()
    notebook = Notebook(lab, f"a-{kernel}.ipynb", kernel)
    assert "containers ada" in notebook.run(OPEN)
    assert notebook.run("lab.reset(); print(lab.state('ada'), lab.engine.id)").endswith(f"\nremoved {engine}")
    assert "on it: nothing" in notebook.run(OPEN)
    notebook.end()


def test_two_notebooks_do_not_fight(lab: Lab) -> None:
    """A copy of a lab that is open at the same time has an engine of its own, and leaves the other's alone."""
    first, second = Notebook(lab, "b.ipynb"), Notebook(lab, "copy of b.ipynb")
    first.run(OPEN + CREATE)
    assert "again" not in second.run(OPEN)
    second.run(CREATE)
    second.run("lab.reset()")
    assert first.run("print(lab.state('ada'))").strip() == "created"
    first.end()
    second.end()


def test_on_a_shared_engine_a_new_kernel_knows_what_the_lab_has_made(lab: Lab) -> None:
    """It is taken up again rather than refused, and tidied up, though it bears no label; what was there before stays."""
    with labkit.open_engine(name="shared", images=["busybox"]) as engine:
        engine.client.containers.create("busybox:lab", name="theirs")
        attach = f"import os\nos.environ.update(LABKIT_PROVIDER='attach', DOCKER_HOST={engine.url!r})"
        notebook = Notebook(lab, "c.ipynb")
        assert f"shared, reached at {engine.url}" in notebook.run(attach + OPEN)
        engine.client.containers.create("busybox:lab", name="ada")
        notebook.restart()
        told = notebook.run(attach + OPEN)
        assert "what is on it: containers ada\nfor the start of the lab: lab.tidy()" in told
        assert "removed: containers 1" in notebook.run("lab.tidy()")
        assert [found.name for found in engine.client.containers.list(all=True)] == ["theirs"]
        notebook.end()
