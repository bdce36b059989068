"""Build fake_nvml.c once, and steer the machine that it plays.

The real binding does `CDLL("libnvidia-ml.so.1")`. The dynamic loader reads LD_LIBRARY_PATH only at the start of a
process, so either start a child with `environment()`, or load the library in this process with `preload()` before the
first nvmlInit: it is built with that soname, and dlopen gives the loaded one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return next((path for name in (os.environ.get("CC", "cc"), "gcc", "clang") if (path := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """The library, compiled into `folder` (cached by the hash of its source; 0.4 s of CPU)."""
    cc = compiler()
    assert cc is not None, "no C compiler"
    target = folder / hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12] / "libnvidia-ml.so.1"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.with_name(f".{os.getpid()}.so")
        flags = ["-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1"]
        subprocess.run([cc, *flags, "-o", str(temp), str(SOURCE), "-lpthread"], check=True)
        temp.replace(target)
    return target


class Machine:
    """The fake machine: keys and values in a file that the library looks at on every call (keys: see fake_nvml.c)."""

    def __init__(self, path: Path, **top: object) -> None:
        self.path = path
        self.values: dict[str, object] = dict(top)
        self.write()

    def set(self, values: Mapping[str, object] | None = None, **top: object) -> Machine:
        """Top-level keys: count, driver, cuda, `fault.<function>` …"""
        self.values.update(values or {}, **top)
        return self.write()

    def gpu(self, index: int, **fields: object) -> Machine:
        """Fields of one GPU: name, mem_total, mem_used, util, temp, power, fan, compute, lost, delay …"""
        return self.set({f"gpu.{index}.{name}": value for name, value in fields.items()})

    def fault(self, function: str, code: int, gpu: int | None = None) -> Machine:
        """Every call of `function` (on one GPU) fails: 3 not supported, 13 missing, 15 lost, 18 mismatch, 999 …."""
        return self.set({("" if gpu is None else f"gpu.{gpu}.") + f"fault.{function}": code})

    def clear(self, *keys: str) -> Machine:
        """Back to the default for `keys`, or for all of them."""
        for key in keys or tuple(self.values):
            self.values.pop(key, None)
        return self.write()

    def write(self) -> Machine:
        descriptor, temp = tempfile.mkstemp(dir=self.path.parent)
        with os.fdopen(descriptor, "w") as stream:
            stream.writelines(f"{key}={value}\n" for key, value in self.values.items())
        Path(temp).replace(self.path)
        return self


def environment(library: Path, machine: Machine, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process that shall see the fake machine."""
    values = dict(os.environ if base is None else base)
    folders = [str(library.parent), *filter(None, [values.get("LD_LIBRARY_PATH")])]
    return values | {"LD_LIBRARY_PATH": ":".join(folders), "FAKE_NVML_STATE": str(machine.path)}


def preload(library: Path) -> ctypes.CDLL:
    """Load the library into this process; from then on pynvml finds no other."""
    return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
