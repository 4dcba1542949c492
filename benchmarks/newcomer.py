"""What a newcomer does: clones the repository, runs all commands and code blocks of README and Quick start as printed.

    make newcomer                                      # or, without the tests:
    python benchmarks/newcomer.py --skip "make test"

Clones HEAD into an empty folder, where `make demo` makes a fresh environment. Prints the minutes of each; exits with 1
if one failed. What cannot run here is skipped, and the table says why. Standard library only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/quickstart.md")
REPOSITORY = re.compile(r"git\+https://[\w./-]+")
UNREACHABLE = ("cannot be downloaded", "is not prepared in")  # a dataset, without internet
RUN_BLOCKS = r"""
import re, sys, time
namespace = {}
blocks = re.findall(r"^```python\n(.*?)^```", open(sys.argv[1]).read(), re.DOTALL | re.MULTILINE)
for number, block in enumerate(blocks, 1):
    start = time.perf_counter()
    exec(compile(block, f"{sys.argv[1]}, block {number}", "exec"), namespace)
    print(f"\0{time.perf_counter() - start}\0{block.splitlines()[-1].strip()}", file=sys.stderr, flush=True)
"""


class Newcomer:
    """Runs commands in a clone, and keeps a row of each: minutes, what it was, what came of it."""

    def __init__(self, folder: Path, skip: list[str]):
        self.clone, self.skip, self.rows, self.missing = folder / "laperm_jax", skip, [], set()
        unwanted = ("PYTHONPATH", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        self.environment |= {
            "PYTHON": sys.executable,
            "PATH": f"{self.clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def add(self, seconds: float, what: str, result: str) -> None:
        self.rows.append((seconds / 60, what, result))
        print(f"{seconds / 60:7.2f}  {what}: {result}", flush=True)

    def command(self, line: str) -> None:
        """Runs a line of a sh block."""
        words = line.partition(" #")[0].strip()
        start = time.perf_counter()
        result = self.result_of(words)
        self.add(time.perf_counter() - start, words, result)

    def result_of(self, words: str) -> str:
        if asked := next((pattern for pattern in self.skip if pattern in words), None):
            return f"skipped: --skip {asked!r}"
        if needed := self.missing.intersection(words.split()):
            return f"skipped: {needed.pop()} was not made"
        local = REPOSITORY.sub(f"git+file://localhost{self.clone}", words)  # without a host pip 23 refuses it
        note = "" if local == words else " (from the clone: no release, no network)"
        options = {"cwd": self.clone, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run(local, shell=True, check=False, **options)
        lines = (done.stdout + done.stderr).strip().splitlines()
        if done.returncode == 0:
            of_pip = "Location 'file:"  # a mirror that is not there
            warnings = [line for line in lines if "warning" in line.lower() and of_pip not in line]
            return f"ok{note}" + (f", {len(warnings)} lines of warnings, first {warnings[0]}" if warnings else "")
        if any(sign in lines[-1] for sign in UNREACHABLE):
            self.missing |= {word for word in words.split() if word.startswith("runs/")}
            return f"skipped: {lines[-1]}"
        print("\n".join(lines[-40:]))
        return f"FAILED with exit code {done.returncode}"

    def blocks(self, page: str) -> None:
        """Runs the Python blocks of a page, one after the other in one process."""
        command = [str(self.clone / ".venv" / "bin" / "python"), "-c", RUN_BLOCKS, page]
        options = {"cwd": self.clone, "env": self.environment, "capture_output": True, "text": True}
        done = subprocess.run(command, check=False, **options)
        for number, (seconds, last) in enumerate(re.findall("\0(.*)\0(.*)", done.stderr), 1):
            self.add(float(seconds), f"{page}, Python block {number} (... {last[:50]})", "ok")
        if done.returncode:
            print(done.stderr[-3000:])
            self.add(0, f"{page}, the next Python block", f"FAILED: {done.stderr.strip().splitlines()[-1]}")

    def page(self, page: str) -> None:
        """Runs a page from top to bottom."""
        ran_python = False
        for language, block in re.findall(
            r"^```(sh|python)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
        ):
            if language == "sh":
                for line in block.splitlines():
                    self.command(line)
            elif not ran_python:
                ran_python = True
                self.blocks(page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", action="append", default=[], help="skip commands that hold this text")
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder), parser.parse_args().skip)
        start = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(newcomer.clone)], check=True)
        newcomer.add(time.perf_counter() - start, "git clone", "ok")
        for page in PAGES:
            newcomer.page(page)
    print("\n| minutes | what | result |\n|---|---|---|")
    for minutes, what, result in newcomer.rows:
        print(f"| {minutes:.2f} | `{what}` | {result} |")
    print(f"| {sum(minutes for minutes, _, _ in newcomer.rows):.2f} | in all | |")
    return int(any("FAILED" in result for _, _, result in newcomer.rows))


if __name__ == "__main__":
    sys.exit(main())
