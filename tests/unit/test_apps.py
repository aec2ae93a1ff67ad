"""The package as a Django app."""

import subprocess
import sys

from django.apps import apps
from django.core.checks.registry import registry

from channels_demux_layer.checks import wiring as checks


def test_app_is_found_by_the_name_of_the_package() -> None:
    """The entry of INSTALLED_APPS is the package's name, and its label too."""
    config = apps.get_app_config("channels_demux_layer")
    assert (config.name, config.verbose_name) == ("channels_demux_layer", "Channels demux layer")
    assert list(config.get_models()) == []


def test_checks_are_registered_under_one_tag() -> None:
    """The checks run with manage.py check, the one that imports streams with --deploy only."""
    assert {checks.check_settings, checks.check_wiring} <= registry.registered_checks
    assert checks.check_imports in registry.deployment_checks
    assert checks.check_imports not in registry.registered_checks
    assert registry.tag_exists(checks.TAG)


def test_setup_imports_nothing_heavy() -> None:
    """Starting Django with the app loads neither channel layers nor the edge nor workers."""
    code = (
        "import django, sys; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['channels_demux_layer']); django.setup();"
        "ours = {f'channels_demux_layer.{name}' for name in ('demultiplexer', 'worker', 'node')};"
        "heavy = ours | {'channels.layers', 'redis', 'django.contrib.auth.models'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert output.stdout.strip() == "[]"
