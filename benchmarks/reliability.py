"""Tries what can go wrong, and counts what was survived, what was refused, and the bits that were lost.

    python benchmarks/reliability.py

Runs the tests of faults with Hypothesis's thorough profile, and sums up what they note. About eleven minutes.
"""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from record import write

ROOT = Path(__file__).parents[1]
TESTS = [
    "tests/lab/runs/test_faults.py",
    "tests/lab/runs/test_resume.py",
    "tests/lab/training/test_launch.py",
    "tests/test_invariants.py",
    "tests/codec/test_bounds.py",
]


def run_tests(report: Path) -> None:
    """Runs the tests of faults, every one of them; exits if one fails or is skipped."""
    command = [sys.executable, "-m", "pytest", *TESTS, "-n", "auto", "-m", "", "--hypothesis-profile", "thorough"]
    subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, check=True)
    skipped = [
        case.get("name") for case in ElementTree.parse(report).iter("testcase") if case.find("skipped") is not None
    ]
    if skipped:
        raise SystemExit(f"these need root, MNIST in TFDS_DATA_DIR, or Linux: {', '.join(map(str, skipped))}")


def sum_up(report: Path) -> list[dict[str, object]]:
    """The counts of each kind of fault, in alphabetical order."""
    rows: dict[str, dict[str, int]] = {}
    for entry in ElementTree.parse(report).iter("property"):
        if entry.get("name") == "fault":
            counts = json.loads(str(entry.get("value")))
            row = rows.setdefault(counts.pop("fault"), dict.fromkeys(counts, 0))
            for name, count in counts.items():
                row[name] += count
    return [{"fault": fault, **rows[fault]} for fault in sorted(rows)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        run_tests(report)
        rows = sum_up(report)
    for row in rows:
        print(row)
    write("reliability", "python benchmarks/reliability.py", {"rows": rows})


if __name__ == "__main__":
    main()
