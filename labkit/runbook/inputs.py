"""What a caller gives for parameters: words of a command line, and files.  Text stays text; the types read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import UsageError

__all__ = ["assignments", "from_file", "options"]


def assignments(words: Iterable[str]) -> dict[str, str]:
    """``name=value`` words of a command line as a mapping; the last of several wins.

    Raises `UsageError` for a word without a name or without ``=``.
    """
    pairs = [(word, *word.partition("=")) for word in words]
    for word, name, equals, _ in pairs:
        if not equals or not name.strip():
            raise UsageError("a parameter is given as name=value", seen=repr(word))
    return {name.strip(): value for _, name, _, value in pairs}


def options(words: Sequence[str], switches: Iterable[str] = ()) -> dict[str, str]:
    """``--name value`` and ``--name=value`` words as a mapping; ``--name`` and ``--no-name`` for the *switches*.

    Raises `UsageError` for a word that is no option and for an option without a value.
    """
    given: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise UsageError(f"unexpected: {word!r}", expected="--name value, or -p name=value")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if equals:
            given[name] = value
        elif name in switches and rest and rest[0].lower() in ("true", "false"):
            given[name] = rest.pop(0)
        elif name in switches or name.removeprefix("no_") in switches:
            given[name.removeprefix("no_")] = "true" if name in switches else "false"
        elif not rest or rest[0].startswith("--"):
            raise UsageError(f"{word} needs a value", expected=f"{word} VALUE")
        else:
            given[name] = rest.pop(0)
    return given


class _Text(yaml.SafeLoader):  # type: ignore[misc]  # it publishes no types
    """YAML in which a word is a word (``007``, ``yes``, ``1:30``), as on a command line; only null is not.

    Without aliases: a few lines of them are billions of words.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(f"an alias, *{self.peek_event().anchor}")
        return super().compose_node(parent, index)


_NULL = "tag:yaml.org,2002:null"
_Text.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag == _NULL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def from_file(path: Path) -> dict[str, Any]:
    """The parameters in a file of YAML or JSON, ``name: value`` each; what is no list or null is text.

    Raises `UsageError` for a file that cannot be read, that is neither, or that names a parameter twice.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Text)
        return {} if node is None else _parameters(node)
    except OSError as error:
        raise UsageError(f"the parameters file {path} cannot be read", seen=str(error.strerror)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        seen = "lists within lists, too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(
            f"the parameters file {path} does not hold parameters",
            seen=" ".join(seen.split())[:300],
            expected="YAML, name: value one a line, or a JSON object",
        ) from None


def _parameters(node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"a {node.id}")
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"a {key.id} in place of a name")
    names = [str(key.value) for key, _ in node.value]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given twice")
    loader = _Text("")
    values = [loader.construct_object(value, deep=True) for _, value in node.value]
    return dict(zip(names, values, strict=True))
