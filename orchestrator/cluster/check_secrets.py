"""Finds secrets in a file: keys of well-known forms, and values given to names of secrets. Such files are committed and
copied to every node, and their commands are shown by `ps`; a secret belongs in the environment or in a file of its
own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.cluster.findings import Finding
from orchestrator.experiment.paths import Values

FORMS = {
    "an AWS key id": r"A(?:KIA|SIA)[0-9A-Z]{16}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a token of Hugging Face": r"hf_[A-Za-z0-9]{30,}",
    "a token of GitHub": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}",
    "a token of GitLab": r"glpat-[\w-]{20,}",
    "a key of OpenAI or Anthropic": r"sk-(?=[\w-]{0,99}\d)(?=[\w-]{0,99}[A-Z])[\w-]{20,}",
    "a key of Google": r"AIza[\w-]{35}|ya29\.[\w-]{20,}",
    "a token of Slack": r"xox[a-z]-[\w-]{10,}",
    "a token of npm": r"npm_[A-Za-z0-9]{36,}",
    "a token of PyPI": r"pypi-AgE[\w-]{20,}",
    "a token of Docker": r"dckr_pat_[\w-]{20,}",
    "a JSON web token": r"eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,}",
    "a key of Weights & Biases": r"(?<=wandb login )(?:--?\S+ )*[0-9a-f]{40}",
    "a signature of Azure": r"(?<=[?&]sig=)[\w%+/]{20,}",
    "a password in an address": r"(?<=://)[^\s/:@]+:[^\s/@$<{]{4,}@",
}
"""Kind of secret -> its pattern, at the beginning of a word."""


_KNOWN = [(what, re.compile(rf"(?<![A-Za-z0-9]){form}")) for what, form in FORMS.items()]
_NAME = r"[\w.-]*(?:secret|token|passw(?:or)?d|passphrase|credentials?|(?:api|access|account|private)[_-]?key)"
_VALUE = r"(?P<value>[^\s\"',;}\]]{8,})"
_NAMED = [
    re.compile(rf"(?<![\w$.-])(?P<name>{_NAME})[\"']?\s*[=:]\s*[\"']?{_VALUE}", re.IGNORECASE),
    re.compile(rf"(?<![\w.-])(?P<name>--{_NAME})[ =][\"']?{_VALUE}", re.IGNORECASE),
    re.compile(rf"\bset (?P<name>{_NAME}) +[\"']?{_VALUE}", re.IGNORECASE),
]
_REFERENCE = re.compile(r"[$~/<{.]|.*REPLACE")
"""A value that only refers to the secret, or is a placeholder for it."""


def secrets_finding(text: str, documents: list[Values]) -> Finding:
    """The places in a file, comments included, that look like secrets, by line or by name; never the secret itself.

    Args:
        text: the text of the file.
        documents: the same, parsed.
    """
    found = [*_in_lines(text), *(f"the value of {name}" for document in documents for name in _in_pairs(document))]
    if found:
        told = "; ".join(dict.fromkeys(found))
        return Finding("secrets", "wrong", f"{told}: keep it out of files, and revoke it where it was issued")
    return Finding("secrets", "ok", "none found")


def _in_lines(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        known = [what for what, form in _KNOWN if form.search(line)]
        named = [match["name"] for form in _NAMED for match in form.finditer(line) if _is_secret(match["value"])]
        yield from (f"line {number} holds {what}" for what in known or [f"a value of {name}" for name in named])


def _in_pairs(value: Any) -> Iterator[str]:
    """Names and values in a Kubernetes manifest that may be secrets: environment variables, and keys of a Secret."""
    if isinstance(value, dict):
        if value.get("kind") == "Secret":
            parts = [part for part in (value.get("data"), value.get("stringData")) if isinstance(part, dict)]
            yield from (str(key) for part in parts for key, given in part.items() if _is_secret(str(given)))
        name, given = value.get("name"), value.get("value")
        if re.fullmatch(_NAME, str(name), re.IGNORECASE) and isinstance(given, str) and _is_secret(given):
            yield str(name)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _in_pairs(inner)


def _is_secret(value: str) -> bool:
    return not _REFERENCE.match(value) and value.lower() not in ("required", "optional", "disabled", "enabled")
