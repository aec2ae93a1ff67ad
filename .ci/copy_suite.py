"""Copies the repository without its package, so that tests there can import the installed one."""

import shutil
import sys
from pathlib import Path

#: What the copy lacks of the root, beside hidden folders: the package, and what was built of it.
LEFT_OUT = {"channels_demux_layer", "dist", "build"}


def main(source: Path, target: Path) -> None:
    """Copies what the tests read.

    Args:
        source: The root of the repository.
        target: The folder to copy to.
    """

    def left_out(folder: str, names: list[str]) -> list[str]:
        at_root = Path(folder) == source
        return [
            name
            for name in names
            if name == "__pycache__"
            or (at_root and (name in LEFT_OUT or (name.startswith(".") and name != ".ci")))
        ]

    shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
