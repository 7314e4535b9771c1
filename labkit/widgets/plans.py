"""A plan with Approve and Reject, where a person looks at the notebook; the plan's table everywhere else."""

from __future__ import annotations

import html
from functools import partial
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, UsageError
from labkit.lab.arguments import learner, made
from labkit.runbook.plans import Applied, Plan

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["Decision", "decision"]


@made("Decision")
class Decision:
    """What a person decides about a plan.  *state* says it in words; `applied` gives what came of it.

    Approved, the plan is carried out as ``labkit apply`` does it: on what was seen, or not at all.
    """

    def __init__(self, plan: Plan, engine: Engine, *, asking: bool) -> None:
        if not isinstance(plan, Plan):
            raise UsageError(
                "there is no plan to decide about", seen=short(plan), expected="a runbook.Plan(…)"
            )
        self.plan, self.engine = plan, engine
        self.asking = asking and bool(plan)
        self.state = f"plan {plan.hash} waits for your decision" if self.asking else ""
        self._applied = plan.wait()
        self._error: BaseException | None = None
        self._decided = False
        self._widget: Any = None

    @property
    def applied(self) -> Applied:
        """What was done: nothing, as long as nobody has approved the plan.  Raises what went wrong with it."""
        if self._error:
            raise self._error
        return self._applied

    def approve(self) -> None:
        """Carry the plan out, once."""
        if self._decided:
            return
        self._tell(f"plan {self.plan.hash} is approved, and is being carried out …", decided=True)
        try:
            self._applied = self.plan.apply(self.engine, approved=self.plan.hash)
            self._tell(
                f"plan {self.plan.hash} was approved and carried out; run the cells below\n{self._applied}"
            )
        except BaseException as error:  # whatever it was: the next cells must not take it for a dry run
            self._error = error
            self._tell(f"plan {self.plan.hash} {_failed(error)}")
            if not isinstance(error, Exception):
                raise

    def reject(self) -> None:
        """Leave everything as it is."""
        if not self._decided:
            self._applied = Applied(note="the plan was rejected: nothing was changed")
            self._tell(f"plan {self.plan.hash} was rejected; nothing was changed", decided=True)

    def _tell(self, state: str, *, decided: bool = False) -> None:
        self.state, self._decided = state, self._decided or decided
        if self._widget:
            *_, buttons, told = self._widget.children
            for button in buttons.children:
                button.disabled = self._decided
            told.value = _preformatted(state)

    def _make_widget(self) -> Any:
        import ipywidgets

        approve = ipywidgets.Button(description="Approve", icon="check", button_style="danger")
        approve.tooltip = "Carry out exactly this plan"
        reject = ipywidgets.Button(description="Reject", tooltip="Change nothing")
        for button, act in ((approve, self.approve), (reject, self.reject)):
            button.on_click(partial(_act, act))
            button.disabled = self._decided
        table = ipywidgets.HTML(self.plan._repr_html_())
        table.add_class("jp-RenderedHTMLCommon")  # with the look that tables have in a notebook
        return ipywidgets.VBox(
            [
                table,
                ipywidgets.HBox([approve, reject]),
                ipywidgets.HTML(_preformatted(self.state)),
            ]
        )

    def __repr__(self) -> str:
        return "\n".join([repr(self.plan), *([self.state] if self.state else [])])

    def _repr_html_(self) -> str:
        return self.plan._repr_html_() + (_preformatted(self.state) if self.state else "")

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The plan's record; and the buttons, for whoever can press them."""
        data, metadata = self.plan._repr_mimebundle_()
        if self.asking:
            self._widget = self._widget or self._make_widget()
            shown = self._widget._repr_mimebundle_(**kwargs)
            data |= {name: value for name, value in shown.items() if name != "text/plain"}
        return data, metadata


@learner("decision")
def decision(plan: Plan, engine: Engine) -> Decision:
    """Ask for a decision about *plan*, if there is anybody to ask: shown, it has two buttons then."""
    return Decision(plan, engine, asking=_somebody_answers())


def _somebody_answers() -> bool:
    """Whether a person runs the cell: front ends of people offer input, papermill, nbclient and nbval do not.

    It is the field ``allow_stdin`` of the request (Jupyter messaging, "execute").
    """
    import sys

    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def _failed(error: BaseException) -> str:
    if isinstance(error, LabkitError) and not error.begun:
        return f"was not carried out: {error}\nnothing was done"
    return f"was approved, and failed: {error if isinstance(error, LabkitError) else repr(error)}"


def _act(act: Any, button: Any) -> None:
    act()


def _preformatted(text: str) -> str:
    return f"<pre style='white-space: pre-wrap'>{html.escape(text)}</pre>"
