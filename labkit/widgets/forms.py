"""A form for a runbook's parameters: a field each, and beside it what a value looks like or what is wrong with it.

What is typed is read as on the command line.  While every field fits, the notebook's variables and its parameters are
those of the form; run the cells below again to use them.  A secret is named by where it lies, and never typed here: what
is in a field may be saved with the notebook.
"""

from __future__ import annotations

import html
from functools import partial
from typing import Any, ClassVar

import ipywidgets

from labkit.errors import LabkitError
from labkit.runbook.kinds import choices, is_optional, written
from labkit.runbook.parameters import Parameter, Parameters, validate
from labkit.runbook.secret import ASK, Secret, is_reference

__all__ = ["Form", "form"]


def form(values: Parameters) -> Form:
    """The form for *values*, in place of the one before it."""
    if Form.latest is not None:
        Form.latest.close_all()
    Form.latest = Form(values)
    return Form.latest


class Form(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets publishes no types
    """Fields for *values*; ``values`` are those that fitted last, ``wrong`` says by name what does not fit."""

    latest: ClassVar[Form | None] = None

    def __init__(self, values: Parameters) -> None:
        self.values = values
        self.wrong: dict[str, str] = {}
        self._clearing = False
        self._declared = {each.name: each for each in values.declared}
        self.fields = {name: _field(each, dict(values)[name]) for name, each in self._declared.items()}
        self.messages = {name: ipywidgets.HTML() for name in self._declared}
        for name, field in self.fields.items():
            self._tell(name)
            field.observe(partial(self._changed, name), "value")
        self.standing = ipywidgets.HTML()
        super().__init__([*(self._row(each) for each in values.declared), self.standing])

    def _row(self, parameter: Parameter) -> ipywidgets.Widget:
        beside = {"flex_flow": "row wrap"}  # below, where the window is narrow
        return ipywidgets.HBox([self.fields[parameter.name], self.messages[parameter.name]], layout=beside)

    def _tell(self, name: str) -> None:
        """Beside the field: what the parameter is for, or what is wrong."""
        parameter = self._declared[name]
        told = f"✗ {self.wrong[name]}" if name in self.wrong else f"✓ {parameter.help or parameter.takes}"
        self.messages[name].value = html.escape(told)

    def _tell_standing(self) -> None:
        """Below the fields: that those which fit are not used while another does not."""
        told = (
            "✗ until every field fits, the cells below keep the values that fitted last" if self.wrong else ""
        )
        self.standing.value = told

    def _changed(self, name: str, change: dict[str, Any]) -> None:
        if self._clearing:
            return
        self.wrong.pop(name, None)
        try:
            self._read(name)
            if not self.wrong:
                self._use(validate(self.values.declared, self._given(), in_notebook=True).settled())
        except LabkitError as error:
            expected = [f"expected: {error.expected}"] if error.expected else []
            tried = [f"try {error.try_.removeprefix(f'-p {name}=')}"] if error.try_ else []
            self.wrong[name] = "; ".join([error.what, *expected, *tried])
        self._tell(name)
        self._tell_standing()

    def _read(self, name: str) -> None:
        """Raise what is wrong with one field."""
        parameter, field = self._declared[name], self.fields[name]
        if "Secret" in parameter.annotation and field.value and not is_reference(field.value):
            self._clear(field)
            raise LabkitError("a secret is not typed into a notebook", expected="env:NAME or file:PATH")
        validate([parameter], {name: self._value(name)}, in_notebook=True).settled()

    def _clear(self, field: ipywidgets.Widget) -> None:
        """Empty a field whose content must not stay where it may be saved, and do not take that for an answer."""
        self._clearing = True
        field.value = ""
        self._clearing = False

    def _given(self) -> dict[str, Any]:
        return {name: self._value(name) for name in self._declared}

    def _value(self, name: str) -> Any:
        given, present = self.fields[name].value, dict(self.values)[name]
        if isinstance(present, Secret) and given in (ASK, present.reference):
            return present
        return None if given == "" and is_optional(self._declared[name].type) else given

    def _use(self, values: Parameters) -> None:
        """Put *values* where the notebook's cells look for them: its variables, and the names of the former ones."""
        notebook = self.values.notebook
        former, self.values = self.values, values
        if notebook is not None:
            values.belong_to(notebook)
            for name in [name for name, value in notebook.items() if value is former]:
                notebook[name] = values
            notebook.update({name: values.plain()[name] for name in self._declared})

    def close_all(self) -> None:
        """Take the form away, with its fields."""
        for row in self.children:
            for each in (*getattr(row, "children", ()), row):
                each.close()
        self.close()

    def __repr__(self) -> str:
        return "\n".join([repr(self.values), *(f"{name}: {told}" for name, told in self.wrong.items())])


def _field(parameter: Parameter, value: Any) -> ipywidgets.Widget:
    """The field for one parameter: a box to tick, a list to choose from, or text as on the command line."""
    shared = {
        "description": parameter.name,
        "style": {"description_width": "8em"},
        "tooltip": parameter.takes,
    }
    members = choices(parameter.type)
    if parameter.type is bool:
        return ipywidgets.Checkbox(value=value, indent=True, **shared)
    if members:
        options = [*members, *([None] if is_optional(parameter.type) else [])]
        return ipywidgets.Dropdown(options=[(written(each), each) for each in options], value=value, **shared)
    text = "" if value is None else value.reference if isinstance(value, Secret) else written(value)
    return ipywidgets.Text(value=text, placeholder=parameter.takes, continuous_update=False, **shared)
