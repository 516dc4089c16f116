"""Run every benchmark, one after the other: python benchmarks/run_all.py [NAME ...]"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from _bench import machine, one_thread

HERE = Path(__file__).parent
NOT_BENCHMARKS = {Path(__file__).stem}


def scripts(names: list[str]) -> list[Path]:
    """The scripts with these names; all of them where none is given."""
    found = sorted(p for p in HERE.glob("*.py") if not p.stem.startswith("_") and p.stem not in NOT_BENCHMARKS)
    unknown = set(names) - {p.stem for p in found}
    if unknown:
        sys.exit(f"No benchmark called {', '.join(sorted(unknown))}. Known: {', '.join(p.stem for p in found)}.")
    return [p for p in found if not names or p.stem in names]


def main() -> int:
    one_thread()
    print(machine())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    missed = []
    for script in scripts(sys.argv[1:]):
        print(f"\n=== {script.stem}", flush=True)
        if subprocess.run([sys.executable, str(script)], env=environment, check=False).returncode:
            missed.append(script.stem)
    print(f"\n{'every bar was kept' if not missed else 'missed or failed: ' + ', '.join(missed)}")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
