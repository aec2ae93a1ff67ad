"""Cuts the headers and cookies of a scope to those that are to travel to workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["trim_scope"]

COOKIE = b"cookie"


def trim_scope(
    scope: Mapping[str, Any], headers: Iterable[str] | None, cookies: Iterable[str] | None
) -> dict[str, Any]:
    """Cut a scope's headers and cookies.

    Args:
        scope: The scope; it is not changed.
        headers: Names of the headers to keep, in any case; None for all.
        cookies: Names of the cookies to keep, in the parsed ones and in the header; None for all.

    Returns:
        The scope with the rest left out.
    """
    trimmed = dict(scope)
    if headers is not None and "headers" in scope:
        kept = {name.lower().encode("latin-1", "replace") for name in headers}
        trimmed["headers"] = [
            pair for pair in scope["headers"] if _is_header(pair) and pair[0].lower() in kept
        ]
    if cookies is not None:
        names = frozenset(cookies)
        if "cookies" in scope:
            trimmed["cookies"] = {
                name: value for name, value in scope["cookies"].items() if name in names
            }
        if "headers" in scope:
            trimmed["headers"] = _trim_cookies(trimmed["headers"], names)
    return trimmed


def _trim_cookies(headers: Iterable[Any], names: frozenset[str]) -> list[Any]:
    kept = []
    for header in headers:
        if not _is_header(header):
            continue
        name, value = header
        if name.lower() != COOKIE:
            kept.append((name, value))
        elif pairs := [pair for pair in value.split(b";") if _cookie_name(pair) in names]:
            kept.append((name, b";".join(pairs).strip()))
    return kept


def _is_header(header: Any) -> bool:
    """Tell whether an entry is a header as ASGI has it: middleware may put in anything."""
    return (
        isinstance(header, (list, tuple))
        and len(header) == 2
        and all(isinstance(part, bytes) for part in header)
    )


def _cookie_name(pair: bytes) -> str:
    # As Django reads them: what has no equals sign is the value of a cookie without a name.
    name, equals, _ = pair.partition(b"=")
    return name.strip().decode("utf-8", "replace") if equals else ""
