"""Draws the pictures of the topics from what the code says of itself.

The rings come from the tables that the architecture test keeps, the states of a session from the
table of its transitions, messages and frames from their types. So a picture changes where the
code does, and a test (tests/unit/docs/test_diagrams.py) fails until it is drawn anew::

    PYTHONPATH=. python docs/topics/diagrams/draw.py
"""

from html import escape
from pathlib import Path

from channels_demux_layer import codes
from channels_demux_layer.protocol import edge_session, frames, handshake, naming, session
from tests.unit import test_architecture as architecture

HERE = Path(__file__).parent
INK, EDGE, WORKER, CLIENT = "#7f7f7f", "#3f88d2", "#d9822b", "#9467bd"
WIDTH = 760
PREFIX, CONNECTION, STREAM = "demux", "441931d2", "echo"

# What everything is drawn with


def document(title: str, height: float, body: list[str]) -> str:
    """Return an SVG document.

    Args:
        title: What it shows, for who cannot see it.
        height: Its height in pixels.
        body: Its elements.

    Returns:
        The text of the file.
    """
    heads = "".join(
        f'<marker id="{_name(colour)}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for colour in (INK, EDGE, WORKER)
    )
    lines = "\n".join(f"  {line}" for line in body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" font-family="sans-serif" role="img">\n'
        f"  <title>{escape(title)}</title>\n  <defs>{heads}</defs>\n{lines}\n</svg>\n"
    )


def _name(colour: str) -> str:
    return f"head-{colour[1:]}"


def text(
    x: float, y: float, words: str, colour: str = INK, *, size: int = 12, anchor: str = "middle"
) -> str:
    """Return a line of text; y is its base."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def code(x: float, y: float, words: str, colour: str) -> str:
    """Return a name, each character of which has the same width."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="11" font-family="monospace" fill="{colour}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, colour: str = INK) -> str:
    """Return a rectangle with a tint of its colour."""
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" '
        f'fill="{colour}" fill-opacity="0.1" stroke="{colour}"/>'
    )


def arrow(x: float, y: float, to_x: float, to_y: float, colour: str = INK) -> str:
    """Return a straight arrow."""
    return (
        f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{to_x:.0f}" y2="{to_y:.0f}" stroke="{colour}" '
        f'marker-end="url(#{_name(colour)})"/>'
    )


# The rings


def rings() -> str:
    """Draw which module is in which ring; a ring imports itself and what is inside it."""
    order = ("outside", "rooms", "transport", "protocol")
    body, top, tops = [], 40.0, []
    legend = (("edge", EDGE), ("worker", WORKER), ("client", CLIENT))
    for place, (words, colour) in enumerate(legend):
        body.append(text(560 + 76 * place, 20, words, colour, anchor="start"))
    body.append(text(8, 20, "Modules by ring: imports point inwards", anchor="start", size=14))
    for depth, ring in enumerate(order):
        left = 8 + 12 * depth
        tops.append((left, top))
        body.append(text(left + 10, top + 20, ring, size=14, anchor="start"))
        line, x = top + 40, left + 10.0
        for module in sorted(m for m in architecture.MODULES if _ring(m) == ring):
            room = 6.7 * len(module) + 14
            if x + room > WIDTH - left - 10:
                line, x = line + 18, left + 10
            body.append(code(x, line, module, _side(module)))
            x += room
        top = line + 16
    frame = [
        box(left, y, WIDTH - 2 * left, top - y + 12 * (len(order) - 1 - depth))
        for depth, (left, y) in enumerate(tops)
    ]
    return document("The rings of the package", top + 12 * len(order), frame + body)


def _ring(module: str) -> str:
    room = module.partition(".")[0]
    if room in architecture.OUTSIDE:
        return "outside"
    if room in architecture.WORDS | {"protocol"}:
        return "protocol"
    return "transport" if room in architecture.GROUND | {"transport"} else "rooms"


def _side(module: str) -> str:
    if module in architecture.EDGE:
        return EDGE
    if module in architecture.WORKER:
        return WORKER
    return CLIENT if module in architecture.CLIENT else INK


# The states of a session

_S = session.SessionState
PLACES = {
    _S.GRANTED: (90, 130),
    _S.OPEN: (290, 130),
    _S.CLOSE_SENT: (500, 60),
    _S.CLOSE_RECEIVED: (500, 200),
    _S.ENDED: (680, 130),
}
HALF_WIDTH, HALF_HEIGHT = 66, 17


def states() -> str:
    """Draw the table of a session's transitions."""
    body = [text(8, 20, "A session, the same at both ends of a link", anchor="start", size=14)]
    for (state, what), after in session.TRANSITIONS.items():
        label = what.name.lower().replace("_", " ")
        body += _transition(state, after, label)
    for state, (x, y) in PLACES.items():
        colour = EDGE if state is _S.OPEN else INK
        body.append(box(x - HALF_WIDTH, y - HALF_HEIGHT, 2 * HALF_WIDTH, 2 * HALF_HEIGHT, colour))
        body.append(text(x, y + 4, state.name.lower().replace("_", " "), colour, size=13))
    return document("The states of a session", 250, body)


def _transition(state: _S, after: _S, label: str) -> list[str]:
    (x, y), (to_x, to_y) = PLACES[state], PLACES[after]
    if state is after:
        top = y - HALF_HEIGHT
        path = f"M{x - 20} {top}C{x - 30} {top - 26} {x + 30} {top - 26} {x + 20} {top}"
        head = _name(INK)
        return [
            f'<path d="{path}" fill="none" stroke="{INK}" marker-end="url(#{head})"/>',
            text(x + 40, top - 8, label, anchor="start"),
        ]
    if abs(to_x - x) > 250:  # past the states in between: around them
        dy = HALF_HEIGHT if to_y > y else -HALF_HEIGHT
        y, to_x = y + dy, to_x - HALF_WIDTH
    else:
        x, to_x = x + HALF_WIDTH, to_x - HALF_WIDTH
    middle = ((x + to_x) / 2, (y + to_y) / 2)
    shift = -6 if to_y <= y else 14
    return [arrow(x, y, to_x, to_y), text(middle[0], middle[1] + shift, label)]


# The states of a stream at its edge

_E = edge_session.EdgeState
EDGE_PLACES = {
    _E.OPENING: (75, 90),
    _E.OPEN: (290, 90),
    _E.MOVING: (75, 280),
    _E.LEAVING: (290, 280),
    _E.REOPENING: (435, 185),
    _E.CLOSING: (600, 90),
    _E.CUT_OFF: (600, 280),
    _E.ENDED: (700, 185),
}
#: The states before the stream's end, in a frame from which each end is drawn once.
LIVE = list(EDGE_PLACES)[:5]
FRAME = (8, 36, 492, 290)
EDGE_HALF_WIDTH = 52


def edge_states() -> str:
    """Draw the table of a stream's transitions at its edge."""
    body = [text(8, 20, "A stream at its edge, over all its workers", anchor="start", size=14)]
    body.append(box(*FRAME))
    labels: dict[tuple[_E, _E], list[str]] = {}
    ends: dict[_E, list[str]] = {}
    for (state, what), after in edge_session.TRANSITIONS.items():
        label = what.name.lower().replace("_", " ")
        if state in LIVE and after not in LIVE:
            if label not in ends.setdefault(after, []):
                ends[after].append(label)
        else:
            labels.setdefault((state, after), []).append(label)
    for (state, after), words in labels.items():
        body += _edge_transition(state, after, ", ".join(words))
    right = FRAME[0] + FRAME[2]
    for after, words in ends.items():
        x, y = EDGE_PLACES[after]
        body.append(arrow(right, y, x - EDGE_HALF_WIDTH, y))
        body.append(text(right + 4, y - 6, ", ".join(words), anchor="start", size=11))
    for state, (x, y) in EDGE_PLACES.items():
        colour = EDGE if state.sends else INK
        body.append(box(x - EDGE_HALF_WIDTH, y - HALF_HEIGHT, 2 * EDGE_HALF_WIDTH, 34, colour))
        body.append(text(x, y + 4, state.name.lower().replace("_", " "), colour, size=13))
    return document("The states of a stream at its edge", 340, body)


def _edge_transition(state: _E, after: _E, label: str) -> list[str]:
    (x, y), (to_x, to_y) = EDGE_PLACES[state], EDGE_PLACES[after]
    if state is after:
        return [text(x, y + HALF_HEIGHT + 13, f"stays: {label}", size=10)]
    dx, dy = to_x - x, to_y - y
    length = (dx * dx + dy * dy) ** 0.5
    # Beside the line between the two, since there may be one in the other direction.
    side_x, side_y = -dy / length * 9, dx / length * 9
    part = min(EDGE_HALF_WIDTH / (abs(dx) or 0.1), HALF_HEIGHT / (abs(dy) or 0.1))
    start_x, start_y = x + dx * part + side_x, y + dy * part + side_y
    end_x, end_y = to_x - dx * part + side_x, to_y - dy * part + side_y
    words = text(
        start_x + (end_x - start_x) * 0.35 + side_x / 2,
        start_y + (end_y - start_y) * 0.35 + side_y / 2 + 4,
        label,
        anchor="end" if side_x < -1 else "start" if side_x > 1 else "middle",
        size=11,
    )
    return [arrow(start_x, start_y, end_x, end_y), words]


# Who says what to whom, one below the other


def sequence(title: str, who: list[str], said: list[tuple[int, int, str, str]]) -> str:
    """Draw messages between some parties.

    Args:
        title: What stands above.
        who: The parties, from the left.
        said: For each message the places of its sender and its receiver, what it is, and an
            explanation. Where both are the same, something happens there.

    Returns:
        The SVG document.
    """
    step = (WIDTH - 130) / (len(who) - 1)
    at = [65 + step * place for place in range(len(who))]
    height = 96 + 40 * len(said)
    body = [text(8, 20, title, anchor="start", size=14)]
    for x, name in zip(at, who, strict=True):
        body += [box(x - 60, 34, 120, 26), text(x, 51, name, size=12)]
        body.append(
            f'<line x1="{x:.0f}" y1="60" x2="{x:.0f}" y2="{height - 10}" stroke="{INK}" '
            'stroke-opacity="0.4"/>'
        )
    for place, (sender, receiver, what, why) in enumerate(said):
        y = 96 + 40 * place
        if sender == receiver:
            body += [text(at[sender] + 6, y - 4, what, WORKER, anchor="start")]
            body += [text(at[sender] + 6, y + 10, why, size=11, anchor="start")] if why else []
            continue
        middle = (at[sender] + at[receiver]) / 2
        body += [arrow(at[sender], y, at[receiver], y, EDGE), text(middle, y - 5, what, EDGE)]
        body += [text(middle, y + 13, why, size=11)] if why else []
    return document(title, height, body)


def _frame(kind: type) -> str:
    return kind.__name__.lower()


def opening() -> str:
    """Draw how an edge finds a worker for a stream."""
    channel = naming.stream_channel(PREFIX, STREAM)
    return sequence(
        f"Opening the stream “{STREAM}”",
        ["edge", channel, "worker A", "worker B"],
        [
            (0, 1, handshake.OPEN, "ref, scope, groups, when it expires"),
            (1, 2, handshake.OPEN, ""),
            (1, 3, handshake.OPEN, "some layers: to each worker"),
            (2, 0, handshake.CLAIM, "A could host it; its load"),
            (3, 0, handshake.CLAIM, "not granted: lapses"),
            (0, 2, _frame(frames.Grant), "on the link to A: the session begins"),
            (2, 2, "joins the stream's group,", "starts the consumer"),
            (2, 0, _frame(frames.Accept), "the consumer has accepted"),
            (0, 2, f"{_frame(frames.Text)}, {_frame(frames.Binary)}", "payloads, from now on"),
            (2, 0, _frame(frames.Credit), "as they are taken"),
        ],
    )


def moving() -> str:
    """Draw how a worker that is asked to go hands a session over."""
    restart = codes.CloseCode.SERVICE_RESTART
    return sequence(
        "A worker is asked to go",
        ["client", "edge", "worker A", "worker B"],
        [
            (2, 2, "SIGTERM", "claims no more"),
            (2, 1, _frame(frames.Move), "have somebody else host this"),
            (1, 2, _frame(frames.Close), "what comes waits here"),
            (2, 2, "the consumer finishes,", f"gets its disconnect, {restart.value}"),
            (2, 1, _frame(frames.Text), "its last replies"),
            (1, 0, "payloads", ""),
            (2, 1, _frame(frames.Close), "that was all"),
            (1, 3, f"{handshake.OPEN}, {_frame(frames.Grant)}", "a new consumer"),
            (3, 1, _frame(frames.Accept), ""),
            (1, 3, _frame(frames.Text), "what has waited, in order"),
        ],
    )


# One frame's way

#: Each step: the modules that take part, and what they do.
SERVER = [
    (("demultiplexer", "protocol.envelope"), "takes the envelope apart"),
    (("edge.connection", "edge.remote"), "finds the stream's session"),
    (("hosting.flow", "protocol.session"), "gives it room in the window"),
    (("transport.wire", "protocol.link"), "numbers it, within a batch"),
    (("transport.calls", "transport.typed"), "publishes the batch"),
]
HOST = [
    (("hosting.consumer",), "gives it to the consumer"),
    (("workers.session", "hosting.flow"), "counts what is taken"),
    (("transport.wire", "protocol.link"), "in order, each once"),
    (("transport.node", "transport.typed"), "receives the batch"),
]


def way() -> str:
    """Draw what a client's frame passes on its way to the consumer."""
    column, row, top = 250, 56, 60
    worker_left, foot = WIDTH - column - 8, top + row * len(SERVER) + 20
    group = naming.stream_group(PREFIX, CONNECTION, STREAM)
    body = [
        box(8, 34, column, foot - 34, EDGE),
        text(8 + column / 2, 52, "the server's process", EDGE, size=13),
        box(worker_left, 34, column, foot - 34, WORKER),
        text(worker_left + column / 2, 52, "a worker's process", WORKER, size=13),
        text(8, 20, "A client's frame on its way to the consumer", anchor="start", size=14),
    ]
    for place, step in enumerate(SERVER):
        body += _step(20, top + row * place, step, EDGE, down=place < len(SERVER) - 1)
    shift = row * (len(SERVER) - len(HOST))
    for place, step in enumerate(HOST):
        body += _step(worker_left + 12, top + shift + row * place, step, WORKER, up=True)
    x, y = worker_left + column / 2, top + shift - 30
    body += [box(x - 70, y - 14, 140, 28, WORKER), text(x, y + 4, "your consumer", WORKER, size=13)]
    line = top + row * (len(SERVER) - 1) + 22
    body += [
        arrow(20 + 226, line, worker_left + 12, line),
        text(WIDTH / 2, line - 26, "channel layer, group"),
        text(WIDTH / 2, line - 8, group, size=11),
        text(WIDTH / 2, line + 18, "acknowledged, or sent again", size=11),
    ]
    return document("A frame's way", foot + 10, body)


def _step(
    x: float,
    y: float,
    step: tuple[tuple[str, ...], str],
    colour: str,
    *,
    down: bool = False,
    up: bool = False,
) -> list[str]:
    modules, what = step
    missing = set(modules) - architecture.MODULES.keys()
    if missing:
        raise LookupError(f"There is no module {', '.join(missing)}: draw the frame's way anew.")
    lines = [
        box(x, y, 226, 40, colour),
        text(x + 113, y + 17, ", ".join(f"{name.replace('.', '/')}.py" for name in modules)),
        text(x + 113, y + 33, what, size=11),
    ]
    if down:
        lines.append(arrow(x + 113, y + 40, x + 113, y + 55, colour))
    if up:
        lines.append(arrow(x + 113, y, x + 113, y - 15, colour))
    return lines


DRAWINGS = {
    "rings": rings,
    "session": states,
    "stream": edge_states,
    "opening": opening,
    "moving": moving,
    "frame": way,
}

if __name__ == "__main__":
    for name, drawing in DRAWINGS.items():
        (HERE / f"{name}.svg").write_text(drawing(), encoding="utf-8")
