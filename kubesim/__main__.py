"""`python -m kubesim`: serve simulated clusters until SIGINT or SIGTERM; says in a line of JSON when they serve."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from kubesim.fleet import Fleet, Plan


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubesim", description="Simulated Kubernetes clusters.")
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--pods", type=int, default=60, help="of each cluster")
    parser.add_argument("--changes", type=float, default=3.0, help="changes a second of each cluster")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=0, help="of the first cluster; 0 takes free ones")
    parser.add_argument("--state-dir", type=Path, help="keeps addresses, certificates and tokens")
    parser.add_argument("--output", type=Path, help="where the kubeconfig goes")
    parser.add_argument("--ready-file", type=Path, help="gets the line of JSON too")
    return parser.parse_args()


async def serve(options: argparse.Namespace, directory: Path) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    plan = Plan(
        clusters=options.clusters,
        pods=options.pods,
        changes_per_s=options.changes,
        seed=options.seed,
        port=options.port,
    )
    async with Fleet(plan, directory) as fleet:
        output = (options.output or directory / "kubeconfig.yaml").absolute()
        put(output, fleet.kubeconfig())
        line = fleet.ready(output)
        if options.ready_file:
            put(options.ready_file, line)
        print(line, flush=True)
        await stopping.wait()


def put(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.replace(path)


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            asyncio.run(serve(options, options.state_dir or Path(scratch)))
        except OSError as error:
            print(f"kubesim: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
