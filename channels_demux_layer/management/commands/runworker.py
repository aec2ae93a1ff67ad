"""``manage.py runworker``: Channels' command, with workers that drain, reload, outlive outages."""

from __future__ import annotations

import argparse
import logging
from importlib import import_module
from typing import Any

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import get_channel_layer
from channels.routing import get_default_application
from django.conf import settings as django_settings
from django.core.management import BaseCommand, CommandError
from django.utils import autoreload

from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.applications import object_name
from channels_demux_layer.hosting.discovery import find_routes, stream_applications, stream_routes
from channels_demux_layer.monitoring.readiness import Pages, health_pages
from channels_demux_layer.workers.runner import DrainingWorker, ListenerDied

logger = logging.getLogger("django.channels.worker")

_REMEDY = (
    "If streams stay unavailable, use a ProtocolTypeRouter with a 'channel' route as the "
    "application, or make it the attribute 'app' of its wrapper."
)


class Command(BaseCommand):
    """Runs a worker process on the given channels."""

    help = "Runs a worker for the consumers of streams and of other channels."
    leave_locale_alone = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of Channels' runworker and further ones."""
        parser.add_argument("channels", nargs="*", help="Channels to listen on.")
        parser.add_argument(
            "--layer",
            default=DEFAULT_CHANNEL_LAYER,
            help="Channel layer alias to use, if not the default.",
        )
        parser.add_argument(
            "--all-streams", action="store_true", help="Listen on the channels of all streams."
        )
        parser.add_argument(
            "--max-sessions",
            type=int,
            help="Maximum number of sessions (default: MAX_SESSIONS).",
        )
        parser.add_argument(
            "--drain-timeout",
            type=float,
            help="Seconds that sessions may take to move elsewhere (default: DRAIN_TIMEOUT).",
        )
        parser.add_argument(
            "--health-port",
            type=int,
            help="Serve /live and /ready over HTTP on this port, for orchestrators. 0: any port.",
        )
        parser.add_argument(
            "--metrics-port",
            type=int,
            help="Serve /metrics over HTTP on this port, for Prometheus. Both ports may be equal.",
        )
        parser.add_argument(
            "--http-host",
            default="127.0.0.1",
            help="Address of these ports (default: 127.0.0.1). Use 0.0.0.0 in a container.",
        )
        parser.add_argument(
            "--noreload",
            action="store_false",
            dest="use_reloader",
            help="Do not restart when code changes. With DEBUG, the worker restarts by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker; with DEBUG, under the reloader."""
        if options["use_reloader"] and django_settings.DEBUG:
            autoreload.run_with_reloader(self._run, **options)
        else:
            self._run(**options)

    def _run(self, **options: Any) -> None:
        autoreload.raise_last_exception()
        layer = get_channel_layer(options["layer"])
        if layer is None:
            raise CommandError(
                f"CHANNEL_LAYERS has no {options['layer']!r}, and a worker needs a channel layer."
            )
        application = get_default_application()
        channels = self._channels(application, options)
        settings = get_settings()
        timeout = options["drain_timeout"]
        logger.info("Running worker for channels %s", channels)
        routes = stream_routes(application)
        streams = {name: routes[name] for name in channels if name in routes}
        worker = DrainingWorker(
            application,
            channels,
            layer,
            drain_timeout=settings.DRAIN_TIMEOUT if timeout is None else timeout,
            max_sessions=options["max_sessions"],
            streams=streams,
            pages=_pages(list(streams), options["health_port"], options["metrics_port"]),
            host=options["http_host"],
        )
        try:
            worker.run()
        except ListenerDied as error:
            raise CommandError(f"The worker has to stop: {error}") from error
        except OSError as error:
            raise CommandError(f"The worker cannot start: {error}") from error

    def _channels(self, application: object, options: dict[str, Any]) -> list[str]:
        streams = stream_applications(application)
        wanted = list(options["channels"])
        if options["all_streams"]:
            wanted += [channel for channel in streams if channel not in wanted]
        routes = find_routes(application)
        if options["all_streams"] and not streams and routes.exist is None:
            problem = f"No stream was found: {_opaque(application)}"
            raise CommandError(f"{problem} Name the channels to listen on. {_REMEDY}")
        if not wanted:
            raise CommandError("Name the channels to listen on, or use --all-streams.")
        routed = routes.channels
        for channel in wanted:
            if routed is not None and channel not in routed:
                known = ", ".join(sorted(routed)) or "none"
                raise CommandError(
                    f"There is no route for channel {channel!r}. Routed channels: {known}."
                )
            if channel in streams:
                self._prepare(streams[channel])
            elif routes.exist is None:
                text = (
                    "Cannot find out whether channel %r has a route: %s Listening on it anyway. %s"
                )
                logger.warning(text, channel, _opaque(application), _REMEDY)
        return wanted

    def _prepare(self, stream_worker: Any) -> None:
        try:
            stream_worker.prepare()
        except ConfigurationError as error:
            raise CommandError(str(error)) from error


def _opaque(application: object) -> str:
    name = object_name(application)
    return f"ASGI_APPLICATION is {name}, a function or an object of an unknown class."


def _pages(
    streams: list[str], health_port: int | None, metrics_port: int | None
) -> dict[int, Pages]:
    pages: dict[int, Pages] = {}
    if health_port is not None:
        pages[health_port] = health_pages(streams)
    if metrics_port is not None:
        pages[metrics_port] = {**pages.get(metrics_port, {}), **_metrics_pages()}
    return pages


def _metrics_pages() -> Pages:
    try:
        # Imported late, because it needs an extra.
        prometheus = import_module("channels_demux_layer.contrib.prometheus")
    except ModuleNotFoundError as error:
        raise CommandError(
            f"--metrics-port needs prometheus-client ({error}): install "
            "'channels-demux-layer[prometheus]'."
        ) from error
    pages: Pages = prometheus.worker_pages()
    return pages
