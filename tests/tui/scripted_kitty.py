"""A terminal that says it is a kitty, and keeps the pictures it is given. Linux only."""

from __future__ import annotations

import base64
import io
import os
import re

from PIL import Image

from tests.benchmarks.terminal import Program

_MESSAGE = re.compile(rb"\x1b_G([^;\x1b]*)(?:;([^\x1b]*))?\x1b\\")
PLACEHOLDER = "\U0010eeee".encode()


class Kitty(Program):
    """`pictures` are in its memory: number of the picture → what was sent."""

    def _answer(self, data: bytes) -> None:
        if b"\x1b_Gi=31" in data:
            os.write(self._master, b"\x1b_Gi=31;OK\x1b\\")
        super()._answer(data)

    def pictures(self) -> dict[int, Image.Image]:
        """After everything that came so far, deletions too."""
        parts: dict[int, bytes] = {}
        found: dict[int, Image.Image] = {}
        for head, payload in _MESSAGE.findall(bytes(self.output)):
            keys = dict(pair.split(b"=") for pair in head.split(b",") if b"=" in pair)
            number = int(keys.get(b"i", 0))
            if keys.get(b"a") == b"d":
                found.pop(number, None)
            elif keys.get(b"f") == b"100":
                parts[number] = parts.get(number, b"") + payload
                if keys[b"m"] == b"0":
                    found[number] = Image.open(io.BytesIO(base64.b64decode(parts.pop(number))))
        return found
