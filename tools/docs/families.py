"""The table of families: how each is served and what proves it, from the recorded run of the proofs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fakes.families import KINDS, NOT_BUILT, REMARKS

HEAD = """# Families of models

Every model family of mlx-lm {mlx_lm}, and how the server runs it. The load probe decides that anew for each
model that is loaded, by comparing the paged cache's logits with those of the model's own cache.

- **paged**: keys and values lie in blocks that sequences share; many sequences run together. Windows, latents
  and chunks page as well; so do families with an index that selects among positions, one row after another.
- **sequential**: one sequence at a time, with the model's own cache. Recurrent states cannot be cut into
  blocks.

Proven means: a random model of two layers or a few more, in float32, gives 24 greedy tokens that equal those
of mlx-lm's own loop, with log-probabilities within 1e-4: for a paged family alone, in a batch that others
join and leave, with the prompt in chunks of four patterns, and upon a prefix that another sequence computed;
and a wrong block in its table shows. A sequential family is proven with two sequences in turns. Multimodal
families are proven with their text side, which is all that mlx-lm has of them.

`python -m tools.families` (also `make families`) runs the proofs and records them in
`tests/parity/families.json` (with mlx {mlx}); `make docs` makes this page from that file.

"""


def page(results: Path) -> str:
    """The page for a file of results."""
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    rows = [
        (family, path, found["families"].get(family, {}))
        for path, families in KINDS.items()
        for family in families
    ]
    proven = Counter(path for _, path, row in rows if _proven(row) == "yes")
    total = Counter(path for _, path, _ in rows)
    lines = [HEAD.format(**found) + "| path | families | proven |\n| --- | --- | --- |"]
    lines += [f"| {path} | {total[path]} | {proven[path]} |" for path in KINDS]
    lines += [f"| all | {len(rows)} | {proven.total()} |", ""]
    lines += ["| family | path | proven | remarks |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{family}` | {path if 'path' in row else '?'} | {_proven(row)} | {_remark(family, row)} |"
        for family, path, row in sorted(rows, key=lambda row: row[0].lower())
    ]
    lines += ["", "Not built, so not proven:", ""]
    lines += [f"- `{module}`: {reason}." for module, reason in NOT_BUILT.items()]
    return "\n".join(lines) + "\n"


def _proven(row: dict[str, Any]) -> str:
    if row.get("failed"):
        return "no"
    return "yes" if row.get("passed") else "no: not run where this was recorded"


def _remark(family: str, row: dict[str, Any]) -> str:
    parts = [REMARKS[family]] if family in REMARKS else []
    reason = row.get("reason", "")
    if row.get("path") == "sequential":
        parts = parts or [reason]
    elif "one after another" in reason:
        parts.append("rows run one after another")
    return "; ".join(parts)
