"""``manage.py demuxstatus``: shows the state of all servers and workers of a deployment."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.core.management import BaseCommand, CommandError

from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import DemuxError
from channels_demux_layer.monitoring.fleet import (
    FleetReport,
    TableView,
    links_table,
    nodes_table,
    remarks,
    streams_table,
)
from channels_demux_layer.status import LIMIT, ask_nodes

#: Seconds between the two reports that rates are computed from, without --watch.
GLANCE = 1.0
#: Seconds until a task that does not end is cancelled again.
PATIENCE = 0.15
#: Seconds between two reports of --watch by default.
INTERVAL = 2.0


class Command(BaseCommand):
    """Asks all nodes for their reports, and shows them."""

    help = "Shows all servers and workers, their streams and their links."
    requires_system_checks = ()
    leave_locale_alone = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        shapes = parser.add_mutually_exclusive_group()
        shapes.add_argument("--once", action="store_true", help="Show the state once (default).")
        shapes.add_argument(
            "--watch",
            type=float,
            nargs="?",
            const=INTERVAL,
            metavar="SECONDS",
            help=f"Refresh the state every SECONDS (default: {INTERVAL:g}).",
        )
        shapes.add_argument("--json", action="store_true", help="Print the state once, as JSON.")
        parser.add_argument(
            "--limit",
            type=float,
            default=LIMIT,
            metavar="SECONDS",
            help=f"Seconds to wait for answers (default: {LIMIT:g}).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask the nodes and show their reports. If no node answers, the exit code is 1."""
        try:
            if options["json"]:
                self._print_json(asyncio.run(_ask_once(options["limit"])))
            else:
                asyncio.run(self._show(options["watch"], options["limit"]))
        except DemuxError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            pass  # Ctrl-C is the way to end --watch.

    def _print_json(self, fleet: FleetReport) -> None:
        text = msgspec.json.format(msgspec.json.encode(_as_json(fleet)), indent=2).decode()
        self.stdout.write(text)
        _check_answered(fleet)

    async def _show(self, watch: float | None, limit: float) -> None:
        screen = _Screen(self.stdout)
        before, asked_at = None, 0.0
        async with aclosing(_ask_again(watch or GLANCE, limit)) as asking:
            async for fleet, now in asking:
                if before is not None:
                    screen.show(fleet, before, now - asked_at, again=watch is not None)
                if watch is None and (before is not None or not fleet.nodes):
                    _check_answered(fleet)
                    return
                before, asked_at = fleet, now


def _check_layer() -> None:
    # Call this in an event loop: some layers cannot be created elsewhere.
    alias = get_settings().CHANNEL_LAYER
    if isinstance(get_channel_layer(alias), InMemoryChannelLayer):
        raise CommandError(
            f"The channel layer {alias!r} is in memory, so no other process can be asked."
        )


def _check_answered(fleet: FleetReport) -> None:
    if not fleet.nodes:
        raise CommandError(remarks(fleet)[0])


async def _ask_once(limit: float) -> FleetReport:
    _check_layer()
    try:
        return await ask_nodes(limit=limit)
    finally:
        await _close_layer()


async def _ask_again(pause: float, limit: float) -> AsyncGenerator[tuple[FleetReport, float], None]:
    now = asyncio.get_running_loop().time
    _check_layer()
    try:
        while True:
            fleet = await ask_nodes(limit=limit)
            yield fleet, now()
            await asyncio.sleep(pause)
    finally:
        await _close_layer()


async def _close_layer() -> None:
    layer: Any = get_channel_layer(get_settings().CHANNEL_LAYER)
    if hasattr(layer, "close_pools"):
        await layer.close_pools()
    # End the tasks of the layer. A layer may swallow a cancellation, so repeat it.
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PATIENCE)


def _as_json(fleet: FleetReport) -> dict[str, Any]:
    return {
        "nodes": fleet.nodes,
        "streams": fleet.streams,
        "unhosted": [each.channel for each in fleet.unhosted],
        "releases": fleet.releases,
        "unreadable": fleet.unreadable,
        "remarks": remarks(fleet),
    }


class _Screen:
    """Shows tables.

    Args:
        file: The output file.
    """

    def __init__(self, file: Any) -> None:
        try:
            from rich.console import Console
        except ModuleNotFoundError as error:
            raise CommandError(
                "Tables need rich: install 'channels-demux-layer[status]', or use --json."
            ) from error
        self._console = Console(file=file)

    def show(self, fleet: FleetReport, before: FleetReport, seconds: float, *, again: bool) -> None:
        """Show the tables. With ``again``, they replace what is on the screen."""
        if again:
            self._console.clear()
        for table in (
            nodes_table(fleet),
            streams_table(fleet, before, seconds),
            links_table(fleet),
        ):
            self._print(table)
        for remark in remarks(fleet):
            self._console.print(f"! {remark}", style="bold red", markup=False)

    def _print(self, view: TableView) -> None:
        from rich import box
        from rich.table import Table

        table = Table(title=view.title, title_justify="left", box=box.SIMPLE_HEAD)
        for column in view.columns:
            is_figure = column.endswith(" ")
            table.add_column(column.strip(), justify="right" if is_figure else "left")
        for row in view.rows:
            table.add_row(*row)
        self._console.print(table, markup=False)
