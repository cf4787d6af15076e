"""SARIF 2.1.0, the format that code scanning of GitHub and GitLab loads."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from label_guard.core.escape import json_text, terminal
from label_guard.report.common import forward_slashes
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport
from label_guard.rules.registry import RULES

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "SRCROOT"


def render(report: DiagnosticReport) -> str:
    """The whole report as one run of its own category, so that ``lint`` and ``diff`` do not replace each other."""
    codes = sorted({diagnostic.rule for diagnostic in report.diagnostics})
    rules = [_rule(code) for code in codes]
    driver = {"name": "label-guard", **_version(), "rules": rules}
    invocation: dict[str, Any] = {"executionSuccessful": report.complete}
    if report.not_checked:
        invocation["toolExecutionNotifications"] = [
            {"level": "note", "message": {"text": f"not checked: {terminal(text)}"}} for text in report.not_checked
        ]
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"label-guard/{report.tool}/"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder that label-guard ran in."}}},
        "results": list(_results(report.diagnostics, codes)),
    }
    return json_text(json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True))


def _version() -> dict[str, str]:
    try:
        return {"semanticVersion": metadata.version("label-guard")}
    except metadata.PackageNotFoundError:  # a copy that is not installed
        return {}


def _rule(code: str) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": f"{rule.summary} More: label-guard rule {code}"},
        "defaultConfiguration": {"level": rule.severity},
    }


def _results(diagnostics: Sequence[Diagnostic], codes: Sequence[str]) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for diagnostic in diagnostics:
        fingerprint = _fingerprint(diagnostic)
        seen[fingerprint] += 1
        text = terminal("; ".join(part for part in (diagnostic.message, diagnostic.fix) if part))
        text = text.replace("](", "] (")  # [words](target) is a link, in plain text too
        result: dict[str, Any] = {
            "ruleId": diagnostic.rule,
            "ruleIndex": codes.index(diagnostic.rule),
            "level": diagnostic.severity,
            "message": {"text": text},
            # GitHub refuses a whole upload for one result without a location.
            "locations": [{"physicalLocation": _location(diagnostic)}],
            "partialFingerprints": {"labelGuard/v1": f"{fingerprint}:{seen[fingerprint]}"},
        }
        if diagnostic.properties:
            result["properties"] = dict(diagnostic.properties)
        yield result


def _fingerprint(diagnostic: Diagnostic) -> str:
    """Without the line: a finding stays the same one while text moves above it."""
    identity = json.dumps([diagnostic.rule, forward_slashes(diagnostic.file), diagnostic.path, diagnostic.message])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _location(diagnostic: Diagnostic) -> dict[str, Any]:
    file = diagnostic.file
    if Path(file).is_absolute():
        artifact = {"uri": Path(file).as_uri()}
    else:  # a name that is not UTF-8 on disk comes with its bytes as surrogates
        uri = quote(forward_slashes(file) or ".", errors="surrogateescape")
        artifact = {"uri": uri, "uriBaseId": _ROOT}
    location: dict[str, Any] = {"artifactLocation": artifact}
    if diagnostic.line:
        location["region"] = {"startLine": diagnostic.line, "startColumn": max(diagnostic.column, 1)}
    return location
