"""`kubenexus`: run everything, run one role, or look after an installation from a shell."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec

from app import log, settings
from app.embedded.process import EmbeddedError
from app.problems import Problem
from app.roles import demo, supervisor, watcher, web

EXPECTED: Final = (
    Problem,
    settings.SettingsError,
    EmbeddedError,
    supervisor.StartError,
    demo.DemoFleetError,
)
"""Errors whose message is a sentence for the person at the shell."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file of settings.")
@click.version_option(package_name="kubenexus")
@click.pass_context
def kubenexus(context: click.Context, config: Path | None) -> None:
    """One live window on every Kubernetes cluster."""
    try:
        context.obj = settings.load(os.environ, config)
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from error
    log.configure(context.obj.log_level, context.obj.log_format)


@kubenexus.command()
@click.option("--demo", "demo_fleet", type=click.Choice(["auto", "never"]), default="auto", show_default=True)
@click.option("--clusters", default=3, show_default=True, help="Clusters of the demo fleet.")
@click.option("--pods", default=60, show_default=True, help="Pods of each.")
@click.option("--changes", default=3.0, show_default=True, help="Changes a second of each.")
@click.option("--seed", default=7, show_default=True)
@click.option("--browser/--no-browser", default=True, help="Open a browser that is signed in.")
@click.pass_obj
def run(
    configured: settings.Settings,
    *,
    demo_fleet: Literal["auto", "never"],
    clusters: int,
    pods: int,
    changes: float,
    seed: int,
    browser: bool,
) -> None:
    """Start everything on this machine: servers, migration, roles, and a demo fleet where no cluster is registered."""
    options = supervisor.Options(
        demo=demo_fleet, clusters=clusters, pods=pods, changes=changes, seed=seed, browser=browser
    )
    # Our own demo fleet, and kind or minikube on this machine, listen on loopback.
    configured = msgspec.structs.replace(configured, allow_loopback_clusters=True)
    if "KUBENEXUS_LOG_LEVEL" not in os.environ and configured.log_level == "info":
        # A newcomer's terminal shows progress and what goes wrong, not each request.
        configured = msgspec.structs.replace(configured, log_level="warning")
        log.configure(configured.log_level, configured.log_format)
    started = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"[{time.monotonic() - started:5.1f} s] {line}")

    _run(supervisor.run(configured, options, say))


@kubenexus.command("web")
@click.pass_obj
def run_web(configured: settings.Settings) -> None:
    """Run the web role: pages, API, live views."""
    _run(web.serve(configured), fast=True)


@kubenexus.command("watcher")
@click.pass_obj
def run_watcher(configured: settings.Settings) -> None:
    """Run the watcher role: mirror the clusters whose leases this process holds."""
    _run(watcher.serve(configured), fast=True)


@kubenexus.command("demo")
@click.option("--clusters", default=3, show_default=True)
@click.option("--pods", default=60, show_default=True, help="Pods of each cluster.")
@click.option("--changes", default=3.0, show_default=True, help="Changes a second of each cluster.")
@click.option("--seed", default=7, show_default=True)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where its kubeconfig goes.")
@click.pass_obj
def run_demo(
    configured: settings.Settings, clusters: int, pods: int, changes: float, seed: int, directory: Path | None
) -> None:
    """Serve simulated clusters until interrupted, and print where their kubeconfig is."""
    directory = directory or configured.data_dir / "demo"
    _run(_serve_demo(directory, clusters=clusters, pods=pods, changes=changes, seed=seed))


async def _serve_demo(directory: Path, *, clusters: int, pods: int, changes: float, seed: int) -> None:
    async with demo.running(directory, clusters=clusters, pods=pods, changes=changes, seed=seed) as fleet:
        click.echo(f"export KUBECONFIG={fleet.kubeconfig}")
        for cluster in fleet.clusters:
            click.echo(f"# {cluster.name}: {cluster.server}")
        await asyncio.Event().wait()


@kubenexus.command()
@click.pass_obj
def migrate(configured: settings.Settings) -> None:
    """Bring the database to this version's tables."""
    from app.storage.postgres import migrate as migrate_database  # noqa: PLC0415 - the other commands need no piccolo

    _run(migrate_database(configured))


@kubenexus.command()
@click.pass_obj
def config(configured: settings.Settings) -> None:
    """Print the settings in force, secrets redacted."""
    click.echo(json.dumps(settings.redacted(configured), indent=2))


@kubenexus.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP API."""
    click.echo(web.openapi_document().decode())


def _run(work: Coroutine[Any, Any, None], *, fast: bool = False) -> None:
    """Run one command to its end; expected errors become a sentence and exit code 1."""
    loop_factory = None
    if fast:
        import uvloop  # noqa: PLC0415 - the supervisor forks its children from a plain loop

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        sys.exit(130)
    except (
        Problem,
        settings.SettingsError,
        EmbeddedError,
        supervisor.StartError,
        demo.DemoFleetError,
    ) as error:
        raise click.ClickException(str(error)) from error


def main() -> None:
    """The console script."""
    kubenexus()


if __name__ == "__main__":
    main()
