"""The language and the time zone that middleware has activated, taken to the worker (L6.5)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from channels_demux_layer.exceptions import NotPortable
from channels_demux_layer.logs import RepeatedLog
from channels_demux_layer.protocol.portable import Report, pack_zone, unpack_zone

__all__ = ["DEFAULT", "Locale", "activate", "active_locale"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)


class Locale(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is active other than the project's defaults.

    Attributes:
        language: The language code; empty where translation is off, None for the default.
        time_zone: A time zone, as portable.pack_zone() writes it; None for the default.
    """

    language: str | None = None
    time_zone: str | tuple[int, str] | None = None


#: The project's defaults.
DEFAULT = Locale()


def active_locale(report: Report) -> Locale:
    """Return what is active here.

    Args:
        report: Where to note a time zone that has no portable form.
    """
    from django.conf import settings
    from django.utils import timezone, translation

    language: str | None = translation.get_language() or ""
    zone = timezone.get_current_timezone()
    try:
        time_zone = None if zone == timezone.get_default_timezone() else pack_zone(zone, "timezone")
    except NotPortable as error:
        report.left_out.append(error)
        time_zone = None
    locale = Locale(None if language == settings.LANGUAGE_CODE else language, time_zone)
    return DEFAULT if locale == DEFAULT else locale  # msgspec omits a default by its identity


def activate(locale: Locale, facts: Mapping[str, str | None]) -> None:
    """Activate a language and a time zone for the running task and all that it starts.

    Args:
        locale: What :func:`active_locale` returned.
        facts: Whom log records are about.
    """
    from django.utils import timezone, translation

    # First the defaults: the task inherits whatever was active where its node was started.
    translation.deactivate()
    timezone.deactivate()
    language, zone = locale.language, locale.time_zone
    if language == "":
        translation.deactivate_all()
    elif language is not None and _is_known(language):
        translation.activate(language)
    elif language is not None:
        text = "A stream has language %r, which this process does not have. It uses the default."
        repeated.warning("languages", text, language, extra=facts)
    if zone is not None:
        try:
            timezone.activate(unpack_zone(zone))
        except ValueError:
            text = (
                "A stream has time zone %r, which this process does not have. It uses the default."
            )
            repeated.warning("time zones", text, str(zone), extra=facts)


def _is_known(language: str) -> bool:
    from django.conf import settings
    from django.utils import translation

    # Django makes a catalog of any code that is activated, and keeps it.
    return language in dict(settings.LANGUAGES) or translation.check_for_language(language)
