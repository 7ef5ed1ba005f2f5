"""`python -m tools.docs` writes the generated pages; with `--check` it only says which are stale."""

from __future__ import annotations

import sys

from tools.docs.pages import stale, write

if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        write()
        sys.exit(0)
    old = stale()
    for path in old:
        print(f"{path} is not up to date; run `make docs`")
    sys.exit(1 if old else 0)
