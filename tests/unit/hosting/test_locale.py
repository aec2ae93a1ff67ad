"""The language and the time zone on their way to a worker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from channels_demux_layer.hosting.locale import DEFAULT, Locale, activate, active_locale
from channels_demux_layer.hosting.scope import enter_scope, pack_scope
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.portable import Report


@pytest.fixture(autouse=True)
def _nothing_active(settings: Any) -> Iterator[None]:
    """Begin and end with the defaults."""
    settings.LANGUAGES = [("en-us", "English"), ("de", "German"), ("x-own", "Our own")]
    translation.deactivate()
    timezone.deactivate()
    yield
    translation.deactivate()
    timezone.deactivate()


def active() -> tuple[str | None, str]:
    """Return what a consumer finds."""
    return translation.get_language(), timezone.get_current_timezone_name()


async def travelled(packed: bytes) -> tuple[str | None, str]:
    """Return what is active where a scope has arrived; in a task of its own."""
    enter_scope(packed)
    assert await sync_to_async(active)() == active()
    return active()


@pytest.mark.parametrize("language", ["de", "x-own", "fr"])
async def test_what_middleware_has_activated_is_active(language: str) -> None:
    """Languages of the project and of Django, and time zones, arrive as they were."""
    with translation.override(language), timezone.override("Asia/Tokyo"):
        packed = await pack_scope({})
    assert active() == ("en-us", "America/Chicago")
    assert await travelled(packed) == (language, "Asia/Tokyo")


async def test_a_fixed_offset() -> None:
    """A time zone without a name of the system is one as well."""
    with timezone.override(dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")):
        packed = await pack_scope({})
    await travelled(packed)
    assert timezone.get_current_timezone_name() == "IST"


async def test_translation_may_be_off() -> None:
    """As after deactivate_all()."""
    with translation.override(None):
        packed = await pack_scope({})
    assert (await travelled(packed))[0] is None


async def test_defaults_do_not_travel_and_are_restored() -> None:
    """A worker's task has the defaults, whatever was active where its node was started."""
    packed = await pack_scope({})
    assert packed == b"\x81\xa6values\x80"
    assert active_locale(Report()) is DEFAULT
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    assert await travelled(packed) == ("en-us", "America/Chicago")


def test_a_zone_that_cannot_travel_is_named() -> None:
    """The language travels all the same."""

    class OwnZone(dt.tzinfo):
        """A time zone that only its project knows."""

    report = Report()
    with translation.override("de"), timezone.override(OwnZone()):
        assert active_locale(report) == Locale("de")
    (error,) = report.left_out
    assert error.path == "timezone"


@pytest.mark.parametrize("language", ["tlh", "../../etc", "x" * 300])
@pytest.mark.parametrize("zone", ["America/Nowhere", "/etc/passwd", (10**30, "x")])
def test_what_is_unknown_here_is_the_default(
    language: str, zone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream goes on, and the log says so."""
    activate(Locale(language, zone), about())
    assert active() == ("en-us", "America/Chicago")
    assert len(caplog.messages) == 2
    assert "has language" in caplog.messages[0]
    assert "has time zone" in caplog.messages[1]


def test_zones_keep_their_kind() -> None:
    """What is activated is a zone with its rules."""
    activate(Locale(time_zone="Asia/Tokyo"), about())
    assert timezone.get_current_timezone() is ZoneInfo("Asia/Tokyo")
