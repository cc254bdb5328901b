"""Which speed fell: the ratios to C of latest.json beside those of reference.json.

    python benchmarks/ratios.py [--fall 0.1] [--save]

Exit status 1 if one fell by more than the given share. The C program runs beside fastlhp, so a ratio says less about
the machine than a time does; it still differs between processors, so keep a reference of the machine that is compared.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Compare the latest ratios to C with the reference.")
    parser.add_argument(
        "--fall", type=float, default=0.1, help="share by which a ratio may fall (default 0.1)"
    )
    parser.add_argument("--save", action="store_true", help="make the latest ratios the reference")
    options = parser.parse_args()
    latest, reference = HERE / "latest.json", HERE / "reference.json"
    if not latest.exists():
        print("no latest.json: run python -m pytest benchmarks", file=sys.stderr)
        return 2
    if options.save:
        shutil.copy(latest, reference)
        return 0
    now, then = json.loads(latest.read_text()), json.loads(reference.read_text())
    fallen = []
    print(f"{'':<18} {'reference':>9} {'latest':>9} {'change':>7}")
    for name in sorted(now):
        change = now[name] / then[name] - 1 if name in then else 0.0
        was = f"{then[name]:.2f}" if name in then else "-"
        print(f"{name:<18} {was:>9} {now[name]:>9.2f} {change:>+7.0%}")
        if change < -options.fall:
            fallen.append(name)
    if fallen:
        print(f"fell by more than {options.fall:.0%}: {', '.join(fallen)}")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
