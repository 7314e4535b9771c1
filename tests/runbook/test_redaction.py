"""What is masked before it is written, and what is left alone."""

from __future__ import annotations

import base64
import errno
import html
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from docker.types import LogConfig
from hypothesis import assume, given
from hypothesis import strategies as st

from labkit.engine import Engine
from labkit.errors import LabkitError, UsageError
from labkit.runbook import redaction, sweeps
from labkit.runbook.redaction import MASK, Secrets, looks_secret

CANARY = "canary <ä&'\"/\\> 7"


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "DB_PASS",
        "passwd",
        "userPwd",
        "GITHUB_TOKEN",
        "token",
        "tokens",
        "AWS_SECRET_ACCESS_KEY",
        "API_KEY",
        "apiKey",
        "com.example.auth-token",
        "REDISCLI_AUTH",
        "requirepass",
        "credentials",
        "PRIVATE_KEY",
        "ssh.passphrase",
        "SECRET_KEY_BASE",
    ],
)
def test_names_of_secrets(name: str) -> None:
    """Names under which people keep secrets are known as such."""
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "AUTHOR",
        "tokenizer",
        "KEYBOARD",
        "MONKEY",
        "COMPASS",
        "PASSENGER",
        "PWD",
        "OLDPWD",
        "SSH_AUTH_SOCK",
        "POSTGRES_PASSWORD_FILE",
        "PATH",
        "keys",
        "authority",
        "AUTH_METHOD",
        "secret_name",
        "image",
    ],
)
def test_names_of_ordinary_things(name: str) -> None:
    """Names that only resemble them are not."""
    assert not looks_secret(name)


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr(CANARY),
        html.escape(CANARY),
        html.escape(CANARY, quote=False),
        quote(CANARY),
        quote(CANARY, safe=""),
        *(
            base64.b64encode(b"u" * n + CANARY.encode() + b"z" * m).decode()
            for n in range(4)
            for m in range(3)
        ),
    ],
)
def test_a_known_value_is_masked_in_every_form(form: str) -> None:
    """A known value is masked as it is, escaped in any way, and inside of base64."""
    secrets = Secrets()
    secrets.add(CANARY)
    masked = secrets.mask(f"before {form} after", shapes=False)
    assert masked.startswith("before ") and masked.endswith(" after") and MASK in masked
    assert not secrets.appear_in(masked)


@given(st.text(min_size=redaction.SHORTEST), st.text(), st.text())
def test_no_known_value_survives(value: str, before: str, after: str) -> None:
    """Whatever the value and the text around it are, the value is not in what is masked."""
    secrets = Secrets()
    try:
        secrets.add(value)
    except UsageError:  # it is a word, or a part of one, that all we write is made of
        assume(False)
    masked = secrets.mask({"key": [before + value + after, {before + value: value}]})
    if value not in MASK:
        assert value not in json.dumps(masked, ensure_ascii=False).replace(MASK, "")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("PGPASSWORD=hunter2 psql", f"PGPASSWORD={MASK} psql"),
        ('export TOKEN="abc def"; ls', f'export TOKEN="{MASK}"; ls'),
        ('{"DB_PASSWORD": "a \\"b", "x": 1}', f'{{"DB_PASSWORD": "{MASK}", "x": 1}}'),
        ("['DB_PASS=abc', 'PATH=/bin']", f"['DB_PASS={MASK}', 'PATH=/bin']"),
        ("redis-server --requirepass foo --port 1", f"redis-server --requirepass {MASK} --port 1"),
        ('["--requirepass", "foo"]', f'["--requirepass", "{MASK}"]'),
        ("postgres://u:p4ss@h/db", f"postgres://u:{MASK}@h/db"),
        ("Authorization: Bearer abcdefghijk", f"Authorization: Bearer {MASK}"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA",
            f"-----BEGIN RSA PRIVATE KEY-----{MASK}-----END RSA",
        ),
    ],
)
def test_shapes_of_secrets(text: str, masked: str) -> None:
    """What only looks like a secret is masked too, and nothing around it."""
    assert Secrets().mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        'password: Secret = "env:PGPASSWORD"  # help',
        "PWD=/root AUTHOR=me tokenizer=x",
        "the token is kept secret",
        '"auth": {"a": 1}',
        "http://host:80/path",
        "docker run --env-file secrets.env web",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Prose, source code and ordinary settings stay as they are."""
    assert Secrets().mask(text) == text


@pytest.mark.parametrize(
    "unit", [" a=b ", "A", "'", "PASSWORD='", "--a ", "http://", "-----BEGIN PRIVATE KEY-----", "{'a': 'b', "]
)
def test_masking_takes_time_in_proportion(unit: str) -> None:
    """No text makes the patterns take more than time in proportion to its length."""
    assert Secrets().mask(unit * (500_000 // len(unit)))


def test_values_under_secret_keys() -> None:
    """In structured data, the value of a key that looks secret is masked, whatever it is."""
    assert Secrets().mask({"env": {"API_KEY": "ab", "n": 1}}) == {"env": {"API_KEY": MASK, "n": 1}}


def test_what_is_shown_openly_is_no_secret_by_itself() -> None:
    """A password that equals the user's name does not mask the name everywhere."""
    secrets = Secrets()
    secrets.add_named(["POSTGRES_USER=postgres", "POSTGRES_PASSWORD=postgres", "DEBUG_TOKEN=false"])
    assert secrets.mask("image postgres: false") == "image postgres: false"
    assert secrets.mask("POSTGRES_PASSWORD=postgres") == f"POSTGRES_PASSWORD={MASK}"


def test_too_short_a_secret_is_refused() -> None:
    """A secret that could be found in any text is refused, and not shown."""
    with pytest.raises(UsageError) as refused:
        Secrets().add("zq7")
    assert "zq7" not in str(refused.value)


def test_nothing_is_written_that_holds_a_secret() -> None:
    """The last look before a file is written refuses, and does not show what it found."""
    redaction.known.add("canary-of-the-last-look")
    redaction.assert_clean(redaction.mask("a canary-of-the-last-look b"), "report.html")
    with pytest.raises(LabkitError) as refused:
        redaction.assert_clean("a canary-of-the-last-look b", "report.html")
    assert "canary" not in str(refused.value)


def test_a_sweep_learns_what_an_engine_carries(engine: Engine, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Whatever looks secret of containers, volumes and networks, and registry credentials, is known after a sweep."""
    kinds = "variable label argument registry url health log volume share network"
    canaries = {kind: f"canary-of-{kind}" for kind in kinds.split()}
    auth = base64.b64encode(f"me:{canaries['registry']}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"example.org": {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    engine.client.containers.create(
        "busybox:lab",
        ["redis-server", "--requirepass", canaries["argument"]],
        environment={
            "DB_PASSWORD": canaries["variable"],
            "MODE": "ordinary-value",
            "DATABASE_URL": f"postgres://me:{canaries['url']}@db/x",
            "OTHER_URL": "postgres://ordinary:ordinary@db/x",
        },
        labels={"com.example.api-key": canaries["label"]},
        healthcheck={"test": ["CMD", "ping", "--password", canaries["health"]]},
        log_config=LogConfig(type="none", config={"splunk-token": canaries["log"]}),
    )
    share = {"type": "cifs", "device": "//nas/x", "o": f"username=me,password={canaries['share']}"}
    engine.client.volumes.create(
        "share", driver="local", driver_opts=share, labels={"api_token": canaries["volume"]}
    )
    engine.client.networks.create("inner", labels={"api_token": canaries["network"]})
    secrets = Secrets()
    sweeps.sweep(engine, secrets)
    sweeps.learn_credentials(secrets)
    text = " ".join([*canaries.values(), auth, "ordinary-value ordinary"])
    assert secrets.mask(text) == " ".join([MASK] * 11 + ["ordinary-value ordinary"])


def test_what_a_container_carried_that_is_gone_is_known(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container is looked at as soon as it was created, unasked: what it carried is masked also once it is removed.

    Also after one that a busy engine said nothing about.
    """
    learn, unanswered = sweeps._learn_object, list[str]()

    def learn_but_one(secrets: Secrets, inspect: Any, id_: str) -> None:
        if not unanswered:
            unanswered.append(id_)
            raise requests.exceptions.ReadTimeout
        learn(secrets, inspect, id_)

    with sweeps.learning(engine.url) as learned:
        assert soon(lambda: learned.found and not learned.busy), "the look at the beginning is over"
        monkeypatch.setattr(sweeps, "_learn_object", learn_but_one)
        engine.client.containers.create("busybox:lab").remove()
        assert soon(lambda: unanswered)
        gone = engine.client.containers.create(
            "busybox:lab", environment={"DB_PASSWORD": "canary-of-one-that-goes"}
        )
        assert soon(lambda: redaction.known.appear_in("canary-of-one-that-goes"))
        gone.remove()
        learned.again()
        assert redaction.mask("a canary-of-one-that-goes") == f"a {MASK}"
    assert soon(lambda: "newcomers" not in [thread.name for thread in threading.enumerate()])


def soon(seen: Callable[[], object]) -> bool:
    """Whether it is *seen* within a minute."""
    end = time.monotonic() + 60
    while not (found := seen()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)


def test_a_file_is_written_whole_and_clean_or_not_at_all(tmp_path: Path) -> None:
    """What was there stays when a secret is in the new text or in the name; only the user may read what is written."""
    redaction.known.add("canary-of-a-file")
    path = tmp_path / "report.md"
    redaction.write_clean(path, "first ✓")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first ✓", 0o600)
    with pytest.raises(redaction.SecretFound, match=r"report\.md is not written"):
        redaction.write_clean(path, "a canary-of-a-file b")
    with pytest.raises(redaction.SecretFound) as refused:
        redaction.write_clean(tmp_path / "canary-of-a-file.md", "x")
    assert "canary" not in str(refused.value)
    assert [each.name for each in tmp_path.iterdir()] == ["report.md"] and path.read_text() == "first ✓"


def test_two_may_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever puts the file in its place in the middle of our writing is in nobody's way; a full disk leaves nothing."""
    path, replace = tmp_path / "plan.json", Path.replace

    def after_another(aside: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        redaction.write_clean(path, "theirs")
        return replace(aside, target)

    monkeypatch.setattr(Path, "replace", after_another)
    redaction.write_clean(path, "ours")
    assert path.read_text() == "ours"

    def full(aside: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        redaction.write_clean(path, "more")
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_what_is_no_file_is_written_and_not_replaced(tmp_path: Path) -> None:
    """`papermill … /dev/null`, as root: a device stays one."""
    (tmp_path / "device").symlink_to("/dev/null")
    redaction.write_clean(tmp_path / "device", "first")
    assert (tmp_path / "device").is_symlink() and (tmp_path / "device").is_char_device()


@pytest.mark.parametrize(
    "thing",
    [
        "\x1b[31mcana\x1b[0m\x1b[1;32mry-in-pieces\x1b[0m",
        ["a can", "ary-in-pieces b"],
        {"text": ["canary-\n", "x", {"canary-in-pieces": 1}]},
        {"application/json": {"a": ["canary-in-pieces"]}},
    ],
)
def test_a_value_in_pieces_is_masked(thing: object) -> None:
    """Colours between its letters, and the lines of a list, hide no secret."""
    secrets = Secrets()
    secrets.add("canary-in-pieces")
    masked = json.dumps(secrets.mask(thing, shapes=False), ensure_ascii=False)
    assert MASK in masked and not secrets.appear_in(masked)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(["a can", "ary-in-pieces"], indent=1),
        "<span>cana</span><b>ry-in</b>-pieces",
        "\x1b[31mcana\x1b[0mry-in-pieces",
        json.dumps("\x1b[31mcana\x1b[0mry-in-pieces"),
        json.dumps(json.dumps({"a": "canary-in-pieces"})),
    ],
)
def test_the_last_look_sees_what_a_reader_would(text: str) -> None:
    """Lists, tags, colours and escapes hide no secret from it."""
    secrets = Secrets()
    secrets.add("canary-in-pieces")
    assert secrets.appear_in(text)


def test_numbers_can_be_secrets() -> None:
    """papermill makes a number of a secret that looks like one; truth values stay."""
    secrets = Secrets()
    secrets.add("73190455")
    assert secrets.mask({"pin": 73190455, "n": 7319, "on": True}) == {"pin": MASK, "n": 7319, "on": True}


@pytest.mark.parametrize("word", ["container", "Failed", "output", "metadata", "password"])
def test_a_word_of_the_files_themselves_is_no_secret(word: str) -> None:
    """Masking it would break every notebook and every outcome; as a parameter it is refused, in an engine it is passed over."""
    secrets = Secrets()
    secrets.add_named({"DB_PASSWORD": word})
    assert len(secrets) == 0
    with pytest.raises(UsageError, match="cannot be told"):
        secrets.add(word)


def test_what_was_masked_before_a_secret_was_known_is_masked_anew() -> None:
    """The same text again, after its secret was learned; and however much was masked, little of it is remembered."""
    secrets = Secrets()
    text = "it says swordfish-9"
    assert secrets.mask({text: [text, 1]}) == {text: [text, 1]}
    secrets.add("swordfish-9")
    assert secrets.mask({text: [text, 1]}) == {f"it says {MASK}": [f"it says {MASK}", 1]}
    for number in range(50):
        secrets.mask(f"{number}" * 200_000)
    assert sum(len(known) for known, _ in secrets._masked) <= redaction._REMEMBERED
