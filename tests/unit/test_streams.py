"""The table of a demultiplexer's streams: what may stand in it, and what is said otherwise."""

import dataclasses
import enum
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils.safestring import SafeString

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.streams import MAX_STREAM_NAME, Stream, new_stream_table


class Consumer:
    """Stands for a Channels consumer: a class with as_asgi()."""

    @classmethod
    def as_asgi(cls) -> Any:
        """Return a new application, as Channels does."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            """Do nothing."""

        app.consumer_class = cls  # type: ignore[attr-defined]
        return app


class NoConsumer:
    """A class that is no consumer."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Stands for an ASGI application."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """Put a module to import from in place, with one of each kind in it."""
    found = types.ModuleType("shop_for_streams")
    found.Consumer = Consumer  # type: ignore[attr-defined]
    found.application = application  # type: ignore[attr-defined]
    found.number = 5  # type: ignore[attr-defined]
    found.text = "shop_for_streams.Consumer"  # type: ignore[attr-defined]
    found.NoConsumer = NoConsumer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, found.__name__, found)
    return found


def test_a_consumer_class_gives_its_application() -> None:
    """The application of a consumer class is what its as_asgi() gives."""
    assert Stream(Consumer).application().consumer_class is Consumer  # type: ignore[attr-defined]


def test_an_application_is_its_own_application() -> None:
    """An ASGI application, here also an instance with as_asgi(), is used as it is."""
    assert Stream(application).application() is application
    instance: Any = Consumer.as_asgi()
    assert Stream(instance).application() is instance


def test_dotted_paths_lead_to_either(module: types.ModuleType) -> None:
    """A dotted path is imported and then treated as what it leads to."""
    assert Stream("shop_for_streams.application").application() is application
    found: Any = Stream("shop_for_streams.Consumer").application()
    assert found.consumer_class is Consumer


def test_dotted_paths_are_not_imported_before_they_are_needed() -> None:
    """A stream can be made where its consumer's module cannot be imported."""
    assert Stream("no_such_module.Consumer").target == "no_such_module.Consumer"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module.Consumer", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("shop_for_streams.Missing", "module 'shop_for_streams' has no 'Missing'"),
        ("shop_for_streams.number", "is the path of 5"),
        ("shop_for_streams.text", "is the path of 'shop_for_streams.Consumer'"),
        ("shop_for_streams.NoConsumer", "is the path of <class"),
    ],
)
def test_dotted_paths_that_lead_nowhere(module: types.ModuleType, path: str, says: str) -> None:
    """What is wrong with a dotted path is said, with the path."""
    with pytest.raises(ConfigurationError) as caught:
        Stream(path).application()
    assert repr(path) in str(caught.value)
    assert says in str(caught.value)


def test_whatever_a_module_raises_is_the_cause(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the consumer's module is named and kept as the cause."""
    (tmp_path / "broken_for_streams.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="ZeroDivisionError") as caught:
        Stream("broken_for_streams.Consumer").application()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("target", [None, 5, NoConsumer, [Consumer]], ids=str)
def test_other_targets_are_refused(target: Any) -> None:
    """What is neither consumer, application nor path is refused at once."""
    with pytest.raises(ConfigurationError, match="neither a consumer class, nor an ASGI"):
        Stream(target)


@pytest.mark.parametrize("path", ["", "Consumer", "shop:Consumer", "shop.", "shop. x", ".Consumer"])
def test_other_strings_are_refused(path: str) -> None:
    """A string that is no dotted path is refused at once, with an example."""
    with pytest.raises(ConfigurationError, match=r"is not a dotted path.*package\.module\.Name"):
        Stream(path)


@pytest.mark.parametrize("hosting", [None, "auto", "inline", "workers"])
def test_hosting_is_one_of_a_few(hosting: Any) -> None:
    """Each documented hosting is taken."""
    assert Stream(Consumer, hosting=hosting).hosting == hosting


@pytest.mark.parametrize("hosting", ["remote", "", 5, []])
def test_other_hosting_is_refused(hosting: Any) -> None:
    """Another hosting is refused, and the choices are named."""
    with pytest.raises(
        ConfigurationError, match=r"is invalid\. Use one of 'auto', 'inline', 'workers', or None"
    ):
        Stream(Consumer, hosting=hosting)


def test_options_are_named() -> None:
    """Options are given by name, and a stream cannot be changed."""
    with pytest.raises(TypeError):
        Stream(Consumer, True)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stream(Consumer).lazy = True  # type: ignore[misc]


def test_table_is_a_mapping_of_streams() -> None:
    """Every entry becomes a Stream; one that is a Stream stays the same object, order kept."""
    own = Stream("shop.asgi.application", lazy=True)
    table = new_stream_table(
        {"echo": Consumer, "audit": own, "raw": application, "p": "shop.Prices"}
    )
    assert list(table) == ["echo", "audit", "raw", "p"]
    assert len(table) == 4
    assert table["echo"] == Stream(Consumer)
    assert table["audit"] is own
    assert "nope" not in table
    assert "Consumer" in repr(new_stream_table({"echo": Consumer}))


def test_table_may_be_empty() -> None:
    """A demultiplexer without streams, as a base class is, has an empty table."""
    assert dict(new_stream_table({})) == {}


def test_later_changes_do_not_reach_the_table() -> None:
    """A table keeps what was checked, not the dictionary that it was made of."""
    entries: dict[str, Any] = {"echo": Consumer}
    table = new_stream_table(entries)
    entries["x"] = 5
    assert list(table) == ["echo"]


@pytest.mark.parametrize("entries", [None, [("echo", Consumer)], "echo"], ids=str)
def test_table_wants_a_mapping(entries: Any) -> None:
    """Something else than a dictionary is refused, and the owner named."""
    with pytest.raises(ConfigurationError, match=r"Shop: consumer_classes is .* a dictionary"):
        new_stream_table(entries, owner="Shop")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "not a non-empty string"),
        (5, "not a non-empty string"),
        (None, "not a non-empty string"),
        ("x\ud800", "lone surrogate"),
        ("é" * 128, "has 256 bytes in UTF-8. Shorten it to 255"),
    ],
)
def test_names_that_no_client_could_send_are_refused(name: Any, says: str) -> None:
    """A name that does not fit both kinds of frame is refused, with the name and the owner."""
    with pytest.raises(ConfigurationError) as caught:
        new_stream_table({name: Consumer}, owner="Shop")
    assert str(caught.value).startswith("Shop: the stream name ")
    assert repr(name) in str(caught.value)
    assert says in str(caught.value)


def test_longest_name_is_taken() -> None:
    """A name may have as many bytes as the binary header can say."""
    assert MAX_STREAM_NAME == 255
    assert len(new_stream_table({"é" * 127 + "x": Consumer})) == 1


def test_entries_are_checked_with_their_name() -> None:
    """An entry that is no consumer is refused, and the stream and the owner named."""
    with pytest.raises(ConfigurationError, match="Shop: stream 'echo': 5 is neither"):
        new_stream_table({"echo": 5}, owner="Shop")  # type: ignore[dict-item]


@pytest.mark.parametrize("permission", [5, [], True])
def test_permissions_are_names_or_callables(permission: Any) -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(
        ConfigurationError, match=r"is invalid\. Use the name of a permission, a callable, or None"
    ):
        Stream(application, permission=permission)


@pytest.mark.parametrize("subprotocol", [5, "", "v1 chat", "v1,v2", ["v1"], "grüße", "v1\n"])
def test_a_subprotocol_is_one_that_could_be_offered(subprotocol: Any) -> None:
    """What no handshake of a WebSocket could have is refused where it is written."""
    assert Stream(application, subprotocol="v1.chat+json").subprotocol == "v1.chat+json"
    with pytest.raises(ConfigurationError, match=r"is invalid\. Use the name of a subprotocol"):
        Stream(application, subprotocol=subprotocol)


def test_names_of_streams_are_plain_text() -> None:
    """A member of a str enum is formatted as something else, and no encoder takes a SafeString."""

    class Name(str, enum.Enum):
        CHAT = "chat"

    names = list(new_stream_table({Name.CHAT: Consumer, SafeString("feed"): Consumer}))
    assert names == ["chat", "feed"]
    assert {type(name) for name in names} == {str}
