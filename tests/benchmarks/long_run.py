"""A run folder as a very long training leaves it: an events file of the trainer's shape and a log of any size."""

from __future__ import annotations

import functools
import json
import math
import random
import struct
import time
from pathlib import Path

from core.workspace import Workspace

RUN_ID = "20261122-120000-long"


def lay_long_run(workspace: Workspace, steps: int, log_bytes: int, *, epoch_steps: int = 1000) -> Path:
    """A finished training of `steps` steps (three scalars each) with a log of about `log_bytes`; its folder."""
    folder = workspace.runs / RUN_ID
    logs = folder / "logs" / "20261122120000" / "network_train"
    logs.mkdir(parents=True)
    _write_events(logs / "events.out.tfevents.1.trainbox.1.0", steps, epoch_steps)
    _write_log(folder / "output.log", steps, log_bytes, epoch_steps)
    output = workspace.output / "long"
    output.mkdir(parents=True)
    started = time.time() - 86_400
    spec = {
        "v": 1, "id": RUN_ID, "kind": "train", "name": "long", "created": started, "argv": ["python"],
        "cwd": str(workspace.root), "output_dir": str(output), "output_name": "long", "config": "long",
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    state = {"v": 1, "state": "finished", "started": started, "ended": started + 80_000}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def _write_events(path: Path, steps: int, epoch_steps: int) -> None:
    generator = random.Random(1)
    average = 0.15
    with path.open("wb") as stream:
        part: list[bytes] = []
        for step in range(1, steps + 1):
            loss = 0.1 + 0.05 * math.exp(-step / 100_000) + 0.03 * generator.random()
            average = 0.99 * average + 0.01 * loss
            moment = 1.7e9 + step * 0.7
            part += [
                _record(b"loss/current", step, loss, moment),
                _record(b"loss/average", step, average, moment),
                _record(b"lr/unet", step, 1e-4, moment),
            ]
            if step % epoch_steps == 0:
                part.append(_record(b"loss/epoch_average", step // epoch_steps, average, moment))
            if len(part) > 30_000:
                stream.write(b"".join(part))
                part = []
        stream.write(b"".join(part))


def _record(tag: bytes, step: int, value: float, moment: float) -> bytes:
    inner = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(inner)]) + inner
    event = b"\x09" + struct.pack("<d", moment) + b"\x10" + _varint(step) + b"\x2a" + bytes([len(summary)]) + summary
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + b"none"  # nobody reads the second checksum


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


@functools.lru_cache
def _masked(data: bytes) -> bytes:
    from core.runs.events import _checksum

    return struct.pack("<I", _checksum(data))


def _write_log(path: Path, steps: int, size: int, epoch_steps: int) -> None:
    epochs = steps // epoch_steps
    head = f"  num epochs / epoch: {epochs}\n  total optimization steps / x: {steps}\nrunning training / x\n"
    bars = b"".join(
        b"\rsteps:  17%%|#7        | %d/%d [12:07<00:37,  1.32it/s, avr_loss=0.115]" % (step, steps)
        for step in range(1, 4000)
    )
    line = b"2026-11-22 10:15:28 %s a message of the trainer with some words in it               train_util.py:123\n"
    block = bars + b"\n" + line % b"INFO   " + line % b"WARNING"
    with path.open("wb") as stream:
        stream.write(head.encode())
        written = len(head)
        epoch = 0
        while written < size:
            epoch = min(epochs, epoch + 1)
            written += stream.write(b"\nepoch %d/%d\n" % (epoch, epochs) + block)
        end = "\rsteps: 100%|##########| {0}/{0} [12:07<00:00,  1.32it/s, avr_loss=0.115]\nmodel saved.\n"
        stream.write(end.format(steps).encode())
