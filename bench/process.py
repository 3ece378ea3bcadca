"""Processes of a measurement: started, read, ended; CPU and memory from /proc, so that a server can be measured too."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[1]


def run(*argv: str) -> str:
    """What a measured child prints; its error output is shown when it fails."""
    done = subprocess.run([*argv], capture_output=True, text=True, cwd=ROOT, timeout=600, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}")
    return done.stdout


def python(module: str, *argv: str) -> str:
    return run(sys.executable, "-W", "ignore", "-m", module, *argv)


@contextlib.contextmanager
def serving(module: str, *argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and the first line that it printed; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *argv], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{module} ended before it served")
        yield process, line
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far; resolution 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def compiled(source: Path) -> Iterator[Path | None]:
    """A C program built on the spot, or None where there is no compiler."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / source.stem
        try:
            subprocess.run(["cc", "-O2", "-o", str(target), str(source)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            yield None
        else:
            yield target
