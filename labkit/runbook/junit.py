"""A run as JUnit XML, which every CI server reads: a test case a section of the runbook, and one for its verdict.

The dialect is that of Jenkins (``junit-10.xsd``), which others read too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from labkit.runbook.executed import Section
from labkit.runbook.outcomes import Outcome

__all__ = ["as_junit"]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot say, not even escaped."""


def as_junit(outcome: Outcome, sections: Sequence[Section]) -> str:
    """The XML.  A section that broke off is an error; a run that came to its end and is not well is a failure."""
    suite = ElementTree.Element("testsuite", name=outcome.runbook or "runbook")
    for section in sections:
        case = _case(suite, outcome, section.name or "beginning", section.seconds)
        if section.state == "failed" and outcome.failure:
            _add(case, "error", outcome.failure.message, outcome.failure.error)
        elif section.state == "not run":
            ElementTree.SubElement(case, "skipped")
    _verdict(
        _case(suite, outcome, "verdict", None), outcome, any(each.state == "failed" for each in sections)
    )
    for name, tag in (
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        suite.set(name, str(len(list(suite.iter(tag)))))
    suite.set("time", f"{outcome.seconds or 0:.3f}")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(
    suite: ElementTree.Element, outcome: Outcome, name: str, seconds: float | None
) -> ElementTree.Element:
    told = {
        "classname": _clean(outcome.runbook or "runbook"),
        "name": _clean(name),
        "time": f"{seconds or 0:.3f}",
    }
    return ElementTree.SubElement(suite, "testcase", told)


def _verdict(case: ElementTree.Element, outcome: Outcome, told: bool) -> None:
    """What the run has found; nothing is said twice."""
    if outcome.failure:
        if told:
            ElementTree.SubElement(case, "skipped")
        else:
            _add(case, "error", outcome.failure.message, outcome.failure.error)
    elif outcome.exit_code:
        found = "; ".join(f"{each.object}: {each.verdict}" for each in outcome.findings)
        plan = (
            f"\nplan {outcome.plan_hash}: {', '.join(map(str, outcome.plan.actions))}" if outcome.plan else ""
        )
        _add(case, "failure", f"{outcome.status}: {found}{plan}\nnext: {outcome.advice}", outcome.status)


def _add(case: ElementTree.Element, tag: str, message: str, kind: str) -> None:
    clean = _clean(message)
    element = ElementTree.SubElement(
        case, tag, message=clean.splitlines()[0] if clean else "", type=_clean(kind)
    )
    element.text = clean


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
