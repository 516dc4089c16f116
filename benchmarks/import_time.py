"""What `import equilearn` costs beyond torch: < 0.5 s, with the names of the README in use."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from _bench import show_seconds

ALONE = "import torch"
WITH = "import torch, equilearn as eq; eq.SO, eq.Cyclic, eq.Symmetry, eq.symmetrize, eq.actions, eq.measure, eq.nn"


def run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main(rounds: int = 7) -> bool:
    run(WITH)
    pairs = [(run(ALONE), run(WITH)) for _ in range(rounds)]
    return show_seconds(
        "import equilearn and its rooms, beyond torch", statistics.median(b - a for a, b in pairs), bar=0.5
    )


if __name__ == "__main__":
    sys.exit(not main())
