"""`python -m equilearn`: the command line."""

from __future__ import annotations

import sys

from equilearn.cli import main

if __name__ == "__main__":
    sys.exit(main())
