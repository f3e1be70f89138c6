"""`python -m rollout.documents` writes the generated files of a checkout; with `--check` it only says which are stale.

Exit 0 when all is well, 1 with a diff when a file is stale (`--check`), 2 for a wrong call.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rollout.documents.crd import crds
from rollout.documents.diagram import state_diagram
from rollout.documents.marked import replaced
from rollout.documents.schema import Schema, policy_schema, settings_schema
from rollout.documents.tables import context_list, event_table, policy_table, settings_table

CHECKOUT = Path(__file__).resolve().parents[2]
Passages = dict[str, Callable[[], str]]


def _schema_text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


WHOLE: dict[str, Callable[[], str]] = {
    "config/schema/service-policy.v1alpha1.json": lambda: _schema_text(policy_schema()),
    "config/schema/controller-config.v1alpha1.json": lambda: _schema_text(settings_schema()),
    "deploy/base/crds.yaml": crds,
}
"""Files that are generated from their first line to their last."""
MARKED: dict[str, Passages] = {
    "ARCHITECTURE.md": {"transitions": state_diagram},
    "docs/policy.md": {"fields": policy_table},
    "docs/settings.md": {"fields": settings_table},
    "docs/events.md": {"context": context_list, "events": event_table},
}
"""Documents with generated passages, by the names of their markers."""


def generated(root: Path) -> dict[Path, str]:
    """What every generated file below `root` should hold. Raises ValueError if a document has lost its markers."""
    files = {root / name: text() for name, text in WHOLE.items()}
    for name, passages in MARKED.items():
        document = (root / name).read_text(encoding="utf-8")
        for marker, passage in passages.items():
            document = replaced(document, marker, passage())
        files[root / name] = document
    return files


def stale(root: Path) -> str:
    """A diff from what is there to what should be; "" when nothing is stale."""
    diffs: list[str] = []
    for path, text in generated(root).items():
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        name = str(path.relative_to(root))
        diffs += difflib.unified_diff(there.splitlines(True), text.splitlines(True), name, f"{name} (generated)")
    return "".join(diffs)


def main(arguments: Sequence[str]) -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rollout.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 with a diff if a file is stale")
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="the checkout (default: the one this runs from)")
    options = parser.parse_args(arguments)
    if options.check:
        diff = stale(options.root)
        sys.stdout.write(diff)
        return 1 if diff else 0
    for path, text in generated(options.root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
