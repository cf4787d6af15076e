"""JUnit XML, for forges and build servers that show tests: a test case for each diagnostic."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree as ET

from label_guard.core.escape import terminal
from label_guard.report.common import counts, forward_slashes, summary, title
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport


def render(report: DiagnosticReport) -> str:
    """The whole report. Errors are failures; warnings and notes are passed cases with their text as output."""
    name = f"label-guard {report.tool}"
    numbers = {
        "tests": str(len(report.diagnostics) + 1),
        "failures": str(counts(report)["error"]),
        "errors": str(int(not report.complete)),
    }
    suites = ET.Element("testsuites", {"name": name, **numbers})
    suite = ET.SubElement(suites, "testsuite", {"name": name, **numbers, "skipped": "0", "time": "0"})
    # One case always: build servers take a suite without any for one that did not run.
    text = summary(report)
    case = ET.SubElement(suite, "testcase", {"classname": name, "name": "all files could be checked", "time": "0"})
    if report.complete:
        ET.SubElement(case, "system-out").text = text
    else:
        ET.SubElement(case, "error", {"type": "incomplete", "message": text}).text = text
    seen: Counter[str] = Counter()
    for diagnostic in report.diagnostics:
        _case(suite, diagnostic, name, seen)
    ET.indent(suites)
    # Everything outside ASCII becomes a character reference, so the text may be stored in any encoding.
    return ET.tostring(suites, encoding="us-ascii", xml_declaration=True).decode("ascii")


def _case(suite: ET.Element, diagnostic: Diagnostic, name: str, seen: Counter[str]) -> None:
    # Control characters are not XML, not even as references; terminal() spells them out.
    file, message, fix = map(terminal, (forward_slashes(diagnostic.file), diagnostic.message, diagnostic.fix))
    place = ":".join(str(part) for part in (file, diagnostic.line, diagnostic.column) if part)
    found = dict(diagnostic.properties)
    parts = [found.get(part) for part in ("dataset", "split", "label")]
    words = [title(diagnostic), place, *(terminal(str(part)) for part in parts if part)]
    case_name = " ".join(word for word in words if word)
    seen[case_name] += 1  # servers join cases of one name
    if seen[case_name] > 1:
        case_name = f"{case_name} ({seen[case_name]})"
    attributes = {"classname": file or name, "name": case_name, "time": "0"}
    if diagnostic.file:
        attributes["file"] = file
    if diagnostic.line:
        attributes["line"] = str(diagnostic.line)
    case = ET.SubElement(suite, "testcase", attributes)
    text = "\n".join(part for part in (place, message, fix) if part)
    if diagnostic.severity == "error":
        ET.SubElement(case, "failure", {"type": diagnostic.rule, "message": message}).text = text
    else:
        ET.SubElement(case, "system-out").text = f"{diagnostic.severity}: {text}"
