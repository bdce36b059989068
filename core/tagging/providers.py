"""Why a tagger runs on the CPU: what is installed, what is missing, and the command that repairs it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from core.problems import UserError

CUDA, CPU = "cuda", "cpu"
_CUDA13_DRIVER = 580
"""First driver for CUDA 13, which onnxruntime-gpu >= 1.27 is built for; older drivers take the last wheels for CUDA
12.
"""


def available_runtime() -> Any:
    """The module onnxruntime. Raises UserError with the command that installs it when it is not there or broken."""
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise UserError("onnxruntime is not installed, so no model can run", install_command()) from error
        raise UserError(f"onnxruntime is damaged: {error}", repair_command()) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # Uninstalling one of the two wheels removes the other's files, too, and leaves an empty folder.
        raise UserError("onnxruntime is damaged: its files are gone", repair_command())
    return onnxruntime


def installed_wheels() -> dict[str, str]:
    """Which of the wheels that all own the module `onnxruntime` are installed, with their versions."""
    from importlib import metadata  # 30 ms, only for a complaint

    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def why_not_cuda(runtime: Any, *, asked: bool, failed: bool = False, reason: str | None = None) -> str | None:
    """The sentence for a tagger that cannot use an NVIDIA GPU, remedy included; None when nothing stands against it.

    `asked`: the user wants the GPU; otherwise a machine without NVIDIA driver is nothing to complain about. `failed`:
    CUDA was tried, and the CPU is used all the same; `reason` is what ONNX Runtime said about it.
    """
    driver = driver_version()
    if driver is None and not asked:
        return None
    if driver is None:
        return "No NVIDIA driver is loaded on this machine, so the CPU is used. Check it with: nvidia-smi"
    repair = f"Repair: {repair_command()}"
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        if len(installed_wheels()) == 2:
            return f"onnxruntime and onnxruntime-gpu are both installed and spoil each other. {repair}"
        return f"The installed onnxruntime is the build for the CPU. For the GPU: {repair_command()}"
    if not failed:
        return None
    missing = _missing_library(runtime)
    if missing is not None:
        return f"The GPU cannot be used: {missing} is missing. {repair}"
    why = reason or "ONNX Runtime does not say why, its libraries may not fit"
    return f"The GPU cannot be used: {why}. {repair}"


def install_command(gpu: bool | None = None) -> str:
    """What installs onnxruntime here: the GPU's wheel where an NVIDIA driver is loaded (`gpu` overrides that).

    It names an extra of this program, which pip and uv look up in the installed one: no index has to know it.
    """
    wants_gpu = driver_version() is not None if gpu is None else gpu
    return f"{_pip('install')} 'kohya-tui[{_gpu_extra() if wants_gpu else 'cpu'}]'"


def repair_command() -> str:
    """Both wheels away, then the right one: the only order that leaves no half-removed module."""
    return f"{_pip('uninstall')} onnxruntime onnxruntime-gpu && {install_command()}"


def driver_version() -> int | None:
    """Major version of the loaded NVIDIA driver; None without one."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text("utf-8", "replace")
    except OSError:
        return _windows_driver_version()
    numbers = [word for word in text.split() if word[:1].isdigit() and "." in word]
    return int(numbers[0].split(".")[0]) if numbers else None


def _windows_driver_version() -> int | None:
    """The driver of the Windows around a WSL, which shows itself by /dev/dxg only."""
    if not Path("/dev/dxg").exists():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        version = str(pynvml.nvmlSystemGetDriverVersion())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return int(version.split(".")[0])


def _gpu_extra() -> str:
    driver = driver_version()
    return "cuda12" if driver is not None and driver < _CUDA13_DRIVER else "cuda"


def _pip(action: str) -> str:
    """The installer of this very environment; one that uv made has no pip inside."""
    from importlib.util import find_spec

    python = sys.executable or "python3"
    if find_spec("pip") is None:
        return f"uv pip {action} --python {python}"
    return f"{python} -m pip {action}" + (" -y" if action == "uninstall" else "")


def _missing_library(runtime: Any) -> str | None:
    """The name of the first shared library that the CUDA part of ONNX Runtime does not find."""
    import ctypes

    folder = Path(runtime.__file__).parent / "capi"
    try:
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        name, _, reason = str(error).partition(":")
        return Path(name).name if "cannot open" in reason else None
    return None
