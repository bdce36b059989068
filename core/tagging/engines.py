"""ONNX Runtime sessions made: options of the provider, threads, a load that can be cancelled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.problems import UserError
from core.settings import cache_dir
from core.tagging.descriptors import TaggerModel
from core.tagging.providers import CPU, PROVIDERS, Provider, engine_options, rtx_devices

_FOLDERS = ("trt_engine_cache_path", "nv_runtime_cache_path", "cache_dir")
"""Options that name a folder, which must be there."""


def create(
    runtime: Any,
    model: TaggerModel,
    threads: int | None,
    provider: Provider,
    engine: dict[str, str],
    device: int | None,
    cancel: Callable[[], bool] | None,
) -> Any:
    """ONNX Runtime's session on `provider`, the CPU behind it. Raises UserError when it cannot be made."""
    options = runtime.SessionOptions()
    severity = 3 if provider.word == CPU else 4  # a fallback is told in our own words
    options.log_severity_level = severity
    runtime.set_default_logger_severity(severity)  # a provider that cannot be made speaks before it has a session
    options.intra_op_num_threads = threads or physical_cores()
    # Spinning threads eat the cores that decode the next pictures; without pictures to decode, off would cost 6-11 %.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    finished = threading.Event()
    flag = getattr(options, "set_load_cancellation_flag", None)  # onnxruntime >= 1.21
    if cancel is not None and flag is not None:
        threading.Thread(target=_watch, args=(cancel, flag, finished), daemon=True).start()
    try:
        for name in _FOLDERS:
            if name in engine:
                Path(engine[name]).mkdir(parents=True, exist_ok=True)
        if provider.word == "tensorrt-rtx":
            found = rtx_devices(runtime)
            options.add_provider_for_devices([found[device or 0]], engine)
            return runtime.InferenceSession(str(model.onnx), options)
        names: list[Any] = [PROVIDERS[CPU].engine]
        behind: Provider | None = provider
        asked = []
        while behind is not None and behind.word != CPU:
            asked.append((behind.engine, engine if behind is provider else _behind(behind, engine)))
            behind = None if behind.behind is None else PROVIDERS[behind.behind]
        # Without enable_fallback=0 a failed provider prints a banner into the log and goes on by itself.
        return runtime.InferenceSession(str(model.onnx), options, providers=[*asked, *names], enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes, which differ from version to version
        if cancel is not None and cancel():
            raise UserError(f"Loading the model {model.name} was cancelled", "Nothing was tagged.") from error
        raise UserError(
            f"Cannot load the model {model.onnx}: {first_line(error)}",
            f"The file is damaged or no ONNX model. {model.again}",
        ) from error
    finally:
        finished.set()


def _behind(provider: Provider, engine: dict[str, str]) -> dict[str, str]:
    """Options of the provider that takes what the first one leaves."""
    device = int(engine.get("device_id", "0"))
    limit = engine.get("trt_max_workspace_size")
    return engine_options(
        provider, device=device, vram_limit=None if limit is None else int(limit) / 2**30, cache=cache_dir()
    )


def _watch(cancel: Callable[[], bool], flag: Callable[[bool], None], finished: threading.Event) -> None:
    while not finished.wait(0.1):
        if cancel():
            flag(True)
            return


def physical_cores() -> int:
    """Cores without hyper-threads, no more than this process may use."""
    import psutil

    usable = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def first_line(error: BaseException) -> str:
    """What it says, without ONNX Runtime's stack of C++ calls."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
