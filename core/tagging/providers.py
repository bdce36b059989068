"""Where a model can run: ONNX Runtime's providers, why one is not to be had, and the command that repairs it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.problems import UserError

CUDA, CPU = "cuda", "cpu"
_CUDA13_DRIVER = 580
"""First driver for CUDA 13, which onnxruntime-gpu >= 1.27 is built for; older drivers take the last wheels for CUDA
12.
"""
_RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to run a model. `word` is what `--provider` calls it."""

    word: str
    engine: str
    """ONNX Runtime's name."""
    label: str
    wheel: str
    """The package that has it; "" for what this program's own extras install."""
    library: str = ""
    """File of its part of ONNX Runtime."""
    behind: str | None = None
    """What takes over where it cannot run; None = the CPU."""
    is_tested: bool = False
    """Whether this program was ever run on it; the others follow their documentation."""


PROVIDERS: Mapping[str, Provider] = {
    each.word: each
    for each in (
        Provider(CUDA, "CUDAExecutionProvider", "CUDA", "", "libonnxruntime_providers_cuda.so"),
        Provider("tensorrt", "TensorrtExecutionProvider", "TensorRT", "", "libonnxruntime_providers_tensorrt.so", CUDA),
        Provider("tensorrt-rtx", "NvTensorRTRTXExecutionProvider", "TensorRT-RTX", "onnxruntime-ep-nv-tensorrt-rtx"),
        Provider(
            "migraphx",
            "MIGraphXExecutionProvider",
            "MIGraphX",
            "onnxruntime-migraphx",
            "libonnxruntime_providers_migraphx.so",
        ),
        Provider("rocm", "ROCMExecutionProvider", "ROCm", "onnxruntime-rocm", "libonnxruntime_providers_rocm.so"),
        Provider(
            "openvino",
            "OpenVINOExecutionProvider",
            "OpenVINO",
            "onnxruntime-openvino",
            "libonnxruntime_providers_openvino.so",
        ),
        Provider(CPU, "CPUExecutionProvider", "CPU", "", is_tested=True),
    )
}
_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-migraphx", "onnxruntime-rocm", "onnxruntime-openvino")
"""They all own the folder `onnxruntime/`: the last one installed wins, and removing one breaks the others."""


def provider_named(engine: str) -> Provider:
    """By ONNX Runtime's name; the CPU for one that is not known here (some wheels list Azure, too)."""
    return next((each for each in PROVIDERS.values() if each.engine == engine), PROVIDERS[CPU])


def choose(asked: str, runtime: Any) -> Provider:
    """The provider to try first. `auto` is CUDA where an NVIDIA driver is loaded, an AMD GPU's where the installed
    wheel was made for one, else the CPU; TensorRT (minutes of building) and OpenVINO only when asked for.
    """
    if asked != "auto":
        return PROVIDERS[asked]
    if driver_version() is not None:
        return PROVIDERS[CUDA]
    available = runtime.get_available_providers()
    amd = [each for each in (PROVIDERS["migraphx"], PROVIDERS["rocm"]) if each.engine in available]
    return amd[0] if amd and Path("/dev/kfd").exists() else PROVIDERS[CPU]


def why_not(
    provider: Provider, runtime: Any, *, asked: bool, failed: bool = False, reason: str | None = None
) -> str | None:
    """The sentence for a model that does not run on `provider`, remedy included; None when nothing stands against it.

    As `why_not_cuda`, for every provider.
    """
    if provider.word == CPU:
        return None
    if provider.word == CUDA:
        return why_not_cuda(runtime, asked=asked, failed=failed, reason=reason)
    repair = f"Repair: {repair_command(provider)}"
    if provider.word == "tensorrt":
        why = why_not_cuda(runtime, asked=True)
        if why is not None:
            return why
    elif provider.word == "tensorrt-rtx":
        from importlib.util import find_spec

        if driver_version() is None:
            return "No NVIDIA driver is loaded on this machine, so the CPU is used. Check it with: nvidia-smi"
        if find_spec(_RTX_PLUGIN) is None:
            return f"{provider.label} is not installed. {repair}"
    elif provider.engine not in runtime.get_available_providers():
        return f"The installed onnxruntime is not the build for {provider.label}. {repair}"
    if not failed:
        return None
    missing = _missing_library(runtime, provider)
    if missing is not None and missing.startswith("libcu"):  # TensorRT stands on CUDA's libraries
        repair = f"Repair: {repair_command()}"
    why = f"{missing} is missing" if missing else reason or "ONNX Runtime does not say why"
    return f"{provider.label} cannot be used: {why}. {repair}"


def engine_options(
    provider: Provider, *, device: int | None, vram_limit: float | None, cache: Path, fp16: bool = False
) -> dict[str, str]:
    """ONNX Runtime's options for a provider. `cache` is a folder of the model's own: engines are built once."""
    number = str(device or 0)
    limit = None if vram_limit is None else str(int(vram_limit * 2**30))
    options: dict[str, str]
    match provider.word:
        case "cuda" | "rocm":
            options = {"device_id": number, "arena_extend_strategy": "kSameAsRequested"}
            if provider.word == CUDA:
                # The exhaustive search of cuDNN's algorithms takes seconds for every new batch shape.
                options["cudnn_conv_algo_search"] = "HEURISTIC"
            return options | ({} if limit is None else {"gpu_mem_limit": limit})
        case "tensorrt":
            options = {
                "device_id": number,
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(cache),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(cache),
                "trt_fp16_enable": str(int(fp16)),
            }
            return options | ({} if limit is None else {"trt_max_workspace_size": limit})
        case "tensorrt-rtx":
            options = {"nv_runtime_cache_path": str(cache)}
            return options | ({} if limit is None else {"nv_max_workspace_size": limit})
        case "migraphx":
            options = {"device_id": number, "migraphx_fp16_enable": str(int(fp16))}
            return options | ({} if limit is None else {"migraphx_mem_limit": limit})
        case "openvino":
            return {"device_type": "GPU" if device is None else f"GPU.{device}", "cache_dir": str(cache)}
    return {}


def rtx_devices(runtime: Any) -> list[Any]:
    """The GPUs of the TensorRT-RTX plugin, which is registered with ONNX Runtime on the first call.

    Raises what the plugin raises when it does not fit.
    """
    import importlib

    plugin = importlib.import_module(_RTX_PLUGIN)
    name = plugin.get_ep_name()
    found = [device for device in runtime.get_ep_devices() if device.ep_name == name]
    if not found:
        runtime.register_execution_provider_library(name, plugin.get_library_path())
        found = [device for device in runtime.get_ep_devices() if device.ep_name == name]
    return found


def preload(provider: Provider, runtime: Any) -> None:
    """Load the libraries that a provider takes from wheels in site-packages, so that no LD_LIBRARY_PATH is needed.

    What is missing shows when the session is made.
    """
    if provider.word in (CUDA, "tensorrt"):
        load = getattr(runtime, "preload_dlls", None)  # onnxruntime >= 1.21
        if load is not None:
            load()
    if provider.word == "tensorrt":
        import ctypes
        from importlib.util import find_spec

        spec = find_spec("tensorrt_libs")
        folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
        for name in ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"):
            for folder in folders:
                with contextlib.suppress(OSError):
                    ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)


def available_runtime() -> Any:
    """The module onnxruntime. Raises UserError with the command that installs it when it is not there or broken."""
    # From 1.32 on it keeps an id of the machine in the user's cache folder and reports what it is used for.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
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
    for name in _WHEELS:
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
        wheels = list(installed_wheels())
        if len(wheels) > 1:
            return f"{' and '.join(wheels)} are {both(wheels)} installed and spoil each other. {repair}"
        return f"The installed onnxruntime is the build for the CPU. For the GPU: {repair_command()}"
    if not failed:
        return None
    missing = _missing_library(runtime, PROVIDERS[CUDA])
    if missing is not None:
        return f"The GPU cannot be used: {missing} is missing. {repair}"
    why = reason or "ONNX Runtime does not say why, its libraries may not fit"
    return f"The GPU cannot be used: {why}. {repair}"


def install_command(gpu: bool | None = None) -> str:
    """What installs onnxruntime here: the GPU's wheel where an NVIDIA driver is loaded (`gpu` overrides that).

    It names an extra of this program, which pip and uv look up in the installed one: no index has to know it.
    """
    wants_gpu = driver_version() is not None if gpu is None else gpu
    return f"{pip('install')} 'kohya-tui[{_gpu_extra() if wants_gpu else 'cpu'}]'"


def both(wheels: list[str]) -> str:
    """`both` or `all`, as their number wants it."""
    return "both" if len(wheels) == 2 else "all"


def repair_command(provider: Provider | None = None) -> str:
    """All wheels away, then the right one: the only order that leaves no half-removed module. Without `provider`: the
    one for this machine.
    """
    if provider is not None and provider.word == "tensorrt":
        return f"{pip('install')} 'tensorrt-{_gpu_cuda()}-libs>=10,<11'"
    if provider is not None and provider.word == "tensorrt-rtx":
        # Its documentation asks for the wheel without CUDA beside it.
        plugin = provider.wheel + ("" if _gpu_cuda() == "cu13" else "-cu12")
        return f"{_uninstall()} && {pip('install')} 'onnxruntime>=1.24' {plugin}"
    if provider is not None and provider.wheel:
        return f"{_uninstall()} && {pip('install')} {provider.wheel}"
    return f"{_uninstall()} && {install_command()}"


def _uninstall() -> str:
    """Takes away every wheel that is there, and the two usual ones in any case."""
    wheels = dict.fromkeys((*_WHEELS[:2], *installed_wheels()))
    return f"{pip('uninstall')} {' '.join(wheels)}"


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


def _gpu_cuda() -> str:
    """The newest CUDA that the driver can do, as package names write it."""
    driver = driver_version()
    return "cu12" if driver is not None and driver < _CUDA13_DRIVER else "cu13"


def _gpu_extra() -> str:
    return "cuda12" if _gpu_cuda() == "cu12" else "cuda"


def pip(action: str) -> str:
    """The installer of this very environment; one that uv made has no pip inside."""
    from importlib.util import find_spec

    python = sys.executable or "python3"
    if find_spec("pip") is None:
        return f"uv pip {action} --python {python}"
    return f"{python} -m pip {action}" + (" -y" if action == "uninstall" else "")


def _missing_library(runtime: Any, provider: Provider) -> str | None:
    """The name of the first shared library that a provider's part of ONNX Runtime does not find."""
    import ctypes

    if not provider.library:
        return None
    folder = Path(runtime.__file__).parent / "capi"
    try:
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / provider.library))
    except OSError as error:
        name, _, reason = str(error).partition(":")
        return Path(name).name if "cannot open" in reason else None
    return None
