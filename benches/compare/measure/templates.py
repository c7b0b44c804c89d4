"""Fills in the configurations of conf/ and keeps what was used for the report."""
from __future__ import annotations

import re
from pathlib import Path

from .programs import HERE

CONF = HERE / "conf"


class Templates:
    """Writes filled-in configurations to one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.used = {}

    def write(self, name: str, target: str | None = None, **values) -> Path:
        """`@NAME@` in conf/`name` becomes the value of that name; one without a value is an error."""
        known = {"DIR": self.folder, "CONF": CONF, **values}
        text = re.sub(r"@([A-Z_]+)@", lambda found: str(known[found.group(1)]), (CONF / name).read_text())
        path = self.folder / (target or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.used.setdefault(target or name, text)
        return path
