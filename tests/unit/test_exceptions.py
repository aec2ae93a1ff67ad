"""The exceptions: one root, the fault in the type, messages that say what to do."""

import ast
import builtins
import copy
import inspect
import pickle
from pathlib import Path

import pytest

from channels_demux_layer import exceptions
from channels_demux_layer.codes import ErrorCode
from channels_demux_layer.exceptions import (
    BadFrame,
    ClientError,
    ConfigurationError,
    ConnectFailed,
    DemuxError,
    NotPortable,
    PayloadTooLarge,
    StreamClosed,
)

PACKAGE = Path(exceptions.__file__).parent

EXAMPLES = [
    DemuxError(),
    ConfigurationError("HOSTING is 'cloud'."),
    BadFrame(ErrorCode.TOO_DEEP, "Nest less.", "echo"),
    PayloadTooLarge(1_000_000, 786_432),
    NotPortable("url_route.kwargs.id", "it is a Decoder"),
    ConnectFailed("the server answered with HTTP status 403", 403, True),
    StreamClosed(4001, "bye"),
]


def _classes() -> list[type[BaseException]]:
    return [
        found
        for _, found in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(found, BaseException)
    ]


def test_all_exceptions_share_one_root() -> None:
    """Catching DemuxError catches whatever the package raises."""
    assert all(issubclass(found, DemuxError) for found in _classes())


def test_no_exception_of_the_package_has_another_root() -> None:
    """Not even an internal one, so that one handler is enough should it ever reach a user."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            bases = set(map(ast.unparse, node.bases))
            built_in = {base for base in bases if _is_exception(getattr(builtins, base, None))}
            if built_in:
                assert "DemuxError" in {*bases, node.name}, path


def _is_exception(found: object) -> bool:
    return inspect.isclass(found) and issubclass(found, BaseException)


def test_module_docstring_draws_every_exception() -> None:
    """The tree on top of the module names each exception that there is, and all are exported."""
    names = {found.__name__ for found in _classes()}
    assert names == set(exceptions.__all__)
    assert all(name in (exceptions.__doc__ or "") for name in names)


@pytest.mark.parametrize("error", [DemuxError(), ConfigurationError()])
def test_docstring_is_the_message(error: DemuxError) -> None:
    """An exception raised without a message says the first line of its docstring."""
    assert str(error) == (type(error).__doc__ or "").splitlines()[0]


def test_subclass_without_docstring_says_its_name() -> None:
    """An exception with neither message nor docstring still says what it is."""
    assert str(type("Unnamed", (DemuxError,), {})()) == "Unnamed"


def test_given_message_is_the_message() -> None:
    """A message given when raising wins over the docstring."""
    assert str(ConfigurationError("HOSTING is 'cloud'.")) == "HOSTING is 'cloud'."


def test_bad_frame_holds_what_its_event_says() -> None:
    """A BadFrame carries the code, message and stream that the error event needs."""
    error = BadFrame(ErrorCode.TOO_DEEP, "Nest less.", "echo")
    assert (error.code, error.message, error.stream) == ("too_deep", "Nest less.", "echo")
    assert str(error) == "too_deep: Nest less."
    assert BadFrame(ErrorCode.INVALID_JSON, "Send JSON.").stream is None


def test_payload_too_large_is_a_value_error_that_names_the_setting() -> None:
    """A consumer that sends too much is told the size, the limit and the setting's name."""
    error = PayloadTooLarge(1_000_000, 786_432)
    assert isinstance(error, ValueError)
    assert (error.size, error.limit) == (1_000_000, 786_432)
    assert all(part in str(error) for part in ("1000000", "786432", "MAX_PAYLOAD"))


def test_not_portable_names_the_path() -> None:
    """A scope value that cannot travel is named by its path, with the reason."""
    error = NotPortable("url_route.kwargs.id", "it is a Decoder")
    assert (error.path, error.problem) == ("url_route.kwargs.id", "it is a Decoder")
    assert str(error).startswith("url_route.kwargs.id cannot be sent to a worker")
    assert "no portable form" in str(NotPortable("user"))


def test_client_errors_say_how_it_ended() -> None:
    """What the client raises has the status or the code, and a sentence that says it."""
    failed = ConnectFailed("the server answered with HTTP status 403", 403, True)
    assert (failed.status, failed.is_final) == (403, True)
    assert str(failed).endswith("opened: the server answered with HTTP status 403.")
    closed = StreamClosed(4001, "bye")
    assert (closed.code, closed.reason) == (4001, "bye")
    assert str(closed) == "The stream has ended with code 4001: bye."
    assert str(StreamClosed(1006)) == "The stream has ended with code 1006."
    assert isinstance(failed, ClientError)
    assert isinstance(closed, ClientError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "pickle"],
)
def test_exceptions_can_be_copied(error: DemuxError, duplicate) -> None:  # type: ignore[no-untyped-def]
    """A copied or pickled exception, as test runners make them, says the same."""
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
