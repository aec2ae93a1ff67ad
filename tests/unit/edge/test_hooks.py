"""Headers and cookies that travel, and those that do not."""

from typing import Any

import pytest

from channels_demux_layer.edge.hooks import trim_scope

SCOPE: dict[str, Any] = {
    "type": "websocket",
    "headers": [
        (b"Host", b"example.org"),
        (b"cookie", b'sessionid=abc; theme=dark;lang="de"; noname'),
        (b"authorization", b"Bearer x"),
    ],
    "cookies": {"sessionid": "abc", "theme": "dark", "lang": "de", "": "noname"},
}


def test_without_lists_everything_travels() -> None:
    """None is all."""
    assert trim_scope(SCOPE, None, None) == SCOPE


def test_headers_are_kept_by_name_in_any_case() -> None:
    """The order stays; the scope itself is not changed."""
    trimmed = trim_scope(SCOPE, ["HOST", "x-missing"], None)
    assert trimmed["headers"] == [(b"Host", b"example.org")]
    assert trimmed["cookies"] == SCOPE["cookies"]
    assert len(SCOPE["headers"]) == 3


@pytest.mark.parametrize(
    ("cookies", "header", "parsed"),
    [
        (["theme"], b"theme=dark", {"theme": "dark"}),
        (["theme", "lang"], b'theme=dark;lang="de"', {"theme": "dark", "lang": "de"}),
        ([""], b"noname", {"": "noname"}),
    ],
)
def test_cookies_are_kept_in_both_places(
    cookies: list[str], header: bytes, parsed: dict[str, str]
) -> None:
    """What is left out of the parsed ones is not in the header either."""
    trimmed = trim_scope(SCOPE, None, cookies)
    assert trimmed["cookies"] == parsed
    assert dict(trimmed["headers"])[b"cookie"] == header


def test_no_cookie_leaves_no_header() -> None:
    """An empty header would tell that there was one."""
    trimmed = trim_scope(SCOPE, None, [])
    assert trimmed["cookies"] == {}
    assert [name for name, _ in trimmed["headers"]] == [b"Host", b"authorization"]


def test_what_is_not_there_is_not_made() -> None:
    """A scope without headers, as tests have, stays one."""
    assert trim_scope({"type": "websocket"}, ["host"], ["theme"]) == {"type": "websocket"}


@pytest.mark.parametrize("header", [("x", "y"), (b"x",), (b"x", b"y", b"z"), None, "xy", (b"x", 5)])
def test_what_is_no_header_does_not_travel(header: Any) -> None:
    """Middleware may put anything beside the headers; it costs no connection its streams."""
    scope = {**SCOPE, "headers": [*SCOPE["headers"], header]}
    assert trim_scope(scope, ["host", "cookie", "x"], ["theme"])["headers"] == [
        (b"Host", b"example.org"),
        (b"cookie", b"theme=dark"),
    ]
    assert trim_scope(scope, None, [])["headers"] == trim_scope(SCOPE, None, [])["headers"]
