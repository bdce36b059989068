"""Sessions: where a model really runs, what is said about it, and how it copes when the device does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.problems import UserError
from core.settings import Settings
from core.tagging import feeding, providers
from core.tagging import session as session_module
from core.tagging.descriptors import CL, WD, InputFormat
from core.tagging.feeding import BoundFeed, PlainFeed, lock_pages
from core.tagging.graph import input_shape, prefix
from core.tagging.models import TaggerModel, find_model
from core.tagging.providers import PROVIDERS, engine_options
from core.tagging.reading import ModelInput
from core.tagging.session import TaggerSession, expected_input, is_out_of_memory, open_lanes, open_session

MODELS = Path(__file__).parent.parent / "data" / "goldens" / "model"
CPU = "CPUExecutionProvider"

ort = pytest.importorskip("onnxruntime")


def tiny(name: str = "SmilingWolf_tiny-dyn") -> TaggerModel:
    return find_model(str(MODELS / name), None, Settings())


def cl_tagger() -> TaggerModel:
    return find_model("cella/tiny-cl/v1", None, Settings(), MODELS)


def opened(provider: str = "auto", **how: Any) -> TaggerSession:
    return open_session(tiny(), provider, 1, **how)


def pictures(count: int, size: int = 448) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(count)
    return [generator.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


class GpuRuntime:
    """The real onnxruntime with providers it does not have; what they would compute is computed by the CPU.

    `works` are those that a session gets; asking for one in `raises` fails. `room` is the largest batch that fits into
    the memory of the GPU.
    """

    def __init__(self, *works: str, raises: tuple[str, ...] = (), room: int = 1000, has: tuple[str, ...] = ()) -> None:
        self.works, self.raises, self.room = works, raises, room
        self.names = [*works, *raises, *has]
        self.batches: list[int] = []
        self.asked: list[dict[str, dict[str, str]]] = []
        self.preloaded = 0
        self.is_bound_broken = False
        self.__file__ = __file__
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def __getattr__(self, name: str) -> Any:
        return getattr(ort, name)

    def _value(self, shape: Any, kind: Any, device: str, number: int) -> Any:
        assert device == "cuda"
        if self.is_bound_broken:
            raise RuntimeError("no such memory")
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", number)

    def get_available_providers(self) -> list[str]:
        return [*dict.fromkeys(self.names), CPU]

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def InferenceSession(self, model: Any, options: Any, providers: list[Any] | None = None, **_: Any) -> Any:
        asked = {item if isinstance(item, str) else item[0]: item for item in providers or []}
        if isinstance(model, str):
            self.asked.append({name: item[1] for name, item in asked.items() if not isinstance(item, str)})
        if any(name in asked for name in self.raises):
            raise RuntimeError("CUDA failure 35: driver too old\n more of it")
        got = [name for name in asked if name in self.works]
        return GpuSession(self, ort.InferenceSession(model, options, providers=[CPU]), [*got, CPU])


class GpuSession:
    """One session of GpuRuntime."""

    def __init__(self, runtime: GpuRuntime, real: Any, names: list[str]) -> None:
        self.runtime, self.real, self.names = runtime, real, names

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return self.names

    def run(self, outputs: list[str], feed: dict[str, Any], options: Any = None) -> Any:
        (rows,) = (len(value) for value in feed.values())
        self.runtime.batches.append(rows)
        if self.names[0] != CPU and rows > self.runtime.room:
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena: Failed to allocate memory for ..."
            )
        return self.real.run(outputs, feed, options)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., GpuRuntime]:
    """A machine with an NVIDIA driver and the runtime that the test describes."""
    monkeypatch.setattr(providers, "driver_version", lambda: 590)
    monkeypatch.setattr(providers, "installed_wheels", lambda: {"onnxruntime-gpu": "1.31.1"})
    monkeypatch.setattr(session_module, "cache_dir", lambda: tmp_path / "cache")

    def build(*works: str, **how: Any) -> GpuRuntime:
        runtime = GpuRuntime(*works, **how)
        monkeypatch.setattr(session_module, "available_runtime", lambda: runtime)
        return runtime

    return build


CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


def test_asking_for_the_gpu_without_one_says_why_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """--provider cuda on a machine without NVIDIA driver runs on the CPU and says so."""
    monkeypatch.setattr(providers, "driver_version", lambda: None)
    session = opened("cuda")
    assert session.provider == "cpu" and "No NVIDIA driver" in (session.fallback or "")
    assert opened("auto").fallback is None


class Runtime:
    """What `why_not_cuda` asks of the module onnxruntime."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.__file__ = __file__

    def get_available_providers(self) -> list[str]:
        return self.names


@pytest.mark.parametrize(
    ("driver", "wheels", "available", "failed", "expected"),
    [
        (570, {"onnxruntime": "1"}, False, False, ["build for the CPU", "install 'kohya-tui[cuda12]'"]),
        (590, {"onnxruntime": "1"}, False, False, ["build for the CPU", "install 'kohya-tui[cuda]'"]),
        (
            590,
            {"onnxruntime": "1", "onnxruntime-gpu": "1"},
            False,
            False,
            ["both installed", "uninstall -y onnxruntime"],
        ),
        (590, {"onnxruntime-gpu": "1"}, True, True, ["libonnxruntime_providers_cuda.so", "is missing", "uninstall -y"]),
    ],
    ids=["old driver", "new driver", "both wheels", "library missing"],
)
def test_a_fallback_to_the_cpu_names_the_command_that_repairs_it(
    monkeypatch: pytest.MonkeyPatch,
    driver: int,
    wheels: dict[str, str],
    available: bool,
    failed: bool,
    expected: list[str],
) -> None:
    """Which wheel is wrong, and the exact line that puts it right, for the CUDA that this driver can do."""
    monkeypatch.setattr(providers, "driver_version", lambda: driver)
    with_pip = {"install": "python -m pip install", "uninstall": "python -m pip uninstall -y"}
    monkeypatch.setattr(providers, "pip", with_pip.__getitem__)  # this environment may be one without
    monkeypatch.setattr(providers, "installed_wheels", lambda: wheels)
    runtime = Runtime("CPUExecutionProvider", *(["CUDAExecutionProvider"] if available else []))
    sentence = providers.why_not_cuda(runtime, asked=False, failed=failed) or ""
    assert all(part in sentence for part in expected), sentence


@pytest.mark.parametrize("how", [{"raises": (CUDA,)}, {"has": (CUDA,)}], ids=["raises", "falls back"])
def test_a_gpu_that_fails_is_never_silent(gpu: Callable[..., GpuRuntime], how: dict[str, Any]) -> None:
    """CUDA is listed, and the session runs on the CPU all the same: it says so, whichever way it came about."""
    gpu(**how)
    session = opened()
    assert (session.provider, session.is_gpu) == ("cpu", False)
    told = session.fallback or ""
    assert "The GPU cannot be used" in told and "Repair:" in told


def test_on_a_gpu_every_batch_has_the_same_shape(gpu: Callable[..., GpuRuntime]) -> None:
    """A last batch of one is filled up, since a new shape makes cuDNN search again; its scores are not touched by
    that.
    """
    runtime = gpu(CUDA)
    runtime.is_bound_broken = True
    session = opened()
    assert (session.provider, session.fallback, session.device, runtime.preloaded) == ("cuda", None, 0, 1)
    images = pictures(5)
    got = np.concatenate([session.run(images[at : at + 2], 2) for at in range(0, 5, 2)])
    assert runtime.batches == [2, 2, 2]
    assert np.allclose(got, opened("cpu").run(images), atol=1e-6)


def test_the_quick_way_into_the_gpu_is_taken_once_it_has_given_the_same_scores(
    gpu: Callable[..., GpuRuntime],
) -> None:
    """The first batch goes both ways; from then on bytes are copied and bound, and no float is made on the host."""
    runtime = gpu(CUDA)
    session = opened()
    images = pictures(4)
    expected = opened("cpu").run(images)
    runtime.batches.clear()
    assert np.allclose(session.run(images, 4), expected, atol=1e-6) and runtime.batches == [4]
    assert np.allclose(session.run(images[:3], 4), expected[:3], atol=1e-6) and runtime.batches == [4]
    assert not session.take_notes()


def test_a_quick_way_that_fails_is_left_alone(gpu: Callable[..., GpuRuntime]) -> None:
    """It is said once, and every batch is right."""
    runtime = gpu(CUDA)
    runtime.is_bound_broken = True
    session = opened()
    images = pictures(2)
    for _ in range(2):
        assert np.allclose(session.run(images, 2), opened("cpu").run(images), atol=1e-6)
    assert ["plain way" in note for note in session.take_notes()] == [True]


@pytest.mark.parametrize("room", [5, 1])
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(gpu: Callable[..., GpuRuntime], room: int) -> None:
    """Sixteen do not fit into the GPU's memory: eight, four … do, which is said, and later batches begin there."""
    runtime = gpu(CUDA, room=room)
    runtime.is_bound_broken = True
    session = opened()
    images = pictures(16)
    expected = opened("cpu").run(images)
    runtime.batches.clear()
    assert np.allclose(session.run(images, 16), expected, atol=1e-6)
    fits = 4 if room == 5 else 1
    assert (
        session.batch_limit == fits
        and runtime.batches[0] == 16
        and runtime.batches[-16 // fits :] == [fits] * (16 // fits)
    )
    runtime.batches.clear()
    assert np.allclose(session.run(images[:5], 16), expected[:5], atol=1e-6) and set(runtime.batches) == {fits}
    assert sum("ran out of memory" in note for note in session.take_notes()) == (2 if room == 5 else 4)


def test_memory_too_small_for_one_image_is_an_error_with_the_way_out(gpu: Callable[..., GpuRuntime]) -> None:
    """Nothing left to halve: one sentence, and --provider cpu."""
    gpu(CUDA, room=0)
    with pytest.raises(UserError, match="Failed to allocate") as caught:
        opened().run(pictures(2))
    assert "--provider cpu" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 2: out of memory ; GPU=0",
        "Available memory of 12 is smaller than requested bytes of 40",
        "CUDNN failure 4000: CUDNN_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_running_out_of_memory_is_known_by_its_many_names(text: str) -> None:
    """ONNX Runtime, CUDA, cuDNN and C++ each have their own."""
    assert is_out_of_memory(RuntimeError(text)) and not is_out_of_memory(RuntimeError("CUDA failure 700: illegal"))


def test_tensorrt_without_its_library_runs_on_cuda_and_says_so(gpu: Callable[..., GpuRuntime]) -> None:
    """The GPU is used all the same; the missing library and its package are named."""
    gpu(CUDA, has=(TENSORRT,))
    session = opened("tensorrt")
    assert session.provider == "cuda" and session.is_gpu
    told = session.fallback or ""
    assert "TensorRT cannot be used: libonnxruntime_providers_tensorrt.so is missing" in told
    assert "tensorrt-cu13-libs" in told


def test_tensorrt_without_cudas_libraries_names_their_package(
    gpu: Callable[..., GpuRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of TensorRT would not help where cuBLAS is what it lacks."""
    monkeypatch.setattr("core.tagging.providers._missing_library", lambda *_: "libcublas.so.13")
    gpu(CUDA, has=(TENSORRT,))
    told = opened("tensorrt").fallback or ""
    assert "libcublas.so.13 is missing" in told and "kohya-tui[cuda]" in told and "tensorrt-cu13-libs" not in told


def test_tensorrt_keeps_its_engines_in_the_users_cache(gpu: Callable[..., GpuRuntime], tmp_path: Path) -> None:
    """Engine and timing cache lie in a folder of the model's own; device and limit reach it and CUDA behind it."""
    runtime = gpu(TENSORRT, CUDA)
    session = opened("tensorrt", device=1, vram_limit=4)
    assert (session.provider, session.device_name, session.device, session.fallback) == (
        "tensorrt",
        "TensorRT",
        1,
        None,
    )
    assert any("untested" in note for note in session.take_notes())
    options = runtime.asked[0]
    folder = Path(options[TENSORRT]["trt_engine_cache_path"])
    assert folder.is_dir() and folder.is_relative_to(tmp_path / "cache" / "tensorrt")
    assert options[TENSORRT]["device_id"] == options[CUDA]["device_id"] == "1"
    assert options[TENSORRT]["trt_max_workspace_size"] == options[CUDA]["gpu_mem_limit"] == str(4 * 2**30)


@pytest.mark.parametrize(
    ("provider", "package"),
    [
        ("migraphx", "onnxruntime-migraphx"),
        ("rocm", "onnxruntime-rocm"),
        ("openvino", "onnxruntime-openvino"),
        ("tensorrt-rtx", "onnxruntime-ep-nv-tensorrt-rtx"),
    ],
)
def test_a_provider_that_is_not_installed_names_its_package(
    gpu: Callable[..., GpuRuntime], provider: str, package: str
) -> None:
    """The CPU does the work, and the command takes the wrong wheel away first."""
    gpu()
    session = opened(provider)
    assert session.provider == "cpu"
    told = session.fallback or ""
    assert PROVIDERS[provider].label in told and f" {package}" in told and "uninstall" in told


@pytest.mark.parametrize("provider", ["migraphx", "rocm", "openvino"])
def test_other_providers_run_where_the_wheel_has_them(gpu: Callable[..., GpuRuntime], provider: str) -> None:
    """Nothing falls back, and nobody is told that it was tested."""
    gpu(PROVIDERS[provider].engine)
    session = opened(provider, device=1)
    assert (session.provider, session.fallback) == (provider, None)
    assert any("untested" in note for note in session.take_notes())
    images = pictures(1)
    assert np.allclose(session.run(images, 2), opened("cpu").run(images), atol=1e-6)


def test_the_tensorrt_rtx_plugin_is_registered_once(
    gpu: Callable[..., GpuRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its devices come from the plugin, the second GPU is the second of them."""
    runtime = gpu()
    name = PROVIDERS["tensorrt-rtx"].engine
    plugin = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.get_ep_name, plugin.get_library_path = lambda: name, lambda: "/plugin.so"  # type: ignore[attr-defined]
    plugin.__spec__ = SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    registered: list[str] = []
    chosen: list[Any] = []
    devices = [SimpleNamespace(ep_name=name, number=number) for number in range(2)]
    monkeypatch.setattr(
        runtime, "register_execution_provider_library", lambda *_: registered.append("x"), raising=False
    )
    monkeypatch.setattr(runtime, "get_ep_devices", lambda: devices if registered else [], raising=False)

    class Options:
        def __init__(self) -> None:
            self.real = ort.SessionOptions()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def add_provider_for_devices(self, found: Any, options: dict[str, str]) -> None:
            chosen.append((found[0].number, Path(options["nv_runtime_cache_path"]).is_dir()))

    def session(model: str, options: Any, providers: Any = None, **_: Any) -> Any:
        real = ort.InferenceSession(model, options.real, providers=[CPU])
        return GpuSession(runtime, real, [name, CPU] if providers is None else [CPU])

    monkeypatch.setattr(runtime, "SessionOptions", Options, raising=False)
    monkeypatch.setattr(runtime, "InferenceSession", session)
    for number in (0, 1):
        assert opened("tensorrt-rtx", device=number).provider == "tensorrt-rtx"
    assert registered == ["x"] and chosen == [(0, True), (1, True)]


def test_a_gpu_number_that_does_not_exist_is_told(gpu: Callable[..., GpuRuntime]) -> None:
    """CUDA's own reason is in the sentence."""
    gpu(raises=(CUDA,))
    assert "CUDA failure 35: driver too old" in (opened("cuda", device=7).fallback or "") or "is missing" in (
        opened("cuda", device=7).fallback or ""
    )


def test_every_gpu_gets_a_session_of_every_model(gpu: Callable[..., GpuRuntime]) -> None:
    """Two GPUs, two models: two lanes of two sessions, which share the limit of memory."""
    runtime = gpu(CUDA)
    lanes = open_lanes([tiny(), cl_tagger()], devices=(0, 1), vram_limit=8)
    assert [[session.device for session in lane] for lane in lanes] == [[0, 0], [1, 1]]
    assert {options[CUDA]["gpu_mem_limit"] for options in runtime.asked} == {str(4 * 2**30)}


def test_a_gpu_that_cannot_be_used_leaves_the_work_to_the_other(
    gpu: Callable[..., GpuRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second GPU fails: one lane, and the reason among its notes; no lane on the CPU slows it down."""
    gpu(CUDA)
    real = session_module.open_session

    def failing(model: TaggerModel, *args: Any, device: int | None = None, **how: Any) -> TaggerSession:
        session = real(model, "cpu" if device == 1 else "auto", device=device)
        session.fallback = "The GPU cannot be used: 1." if device == 1 else None
        return session

    monkeypatch.setattr(session_module, "open_session", failing)
    (lane,) = open_lanes([tiny()], devices=(0, 1))
    assert lane[0].is_gpu and lane[0].take_notes() == ["The GPU cannot be used: 1."]


def test_without_a_gpu_several_numbers_are_one_cpu() -> None:
    """`--device 0,1` on a machine without GPU loads the model once."""
    (lane,) = open_lanes([tiny()], "cpu", devices=(0, 1))
    assert lane[0].provider == "cpu"


@pytest.mark.parametrize("name", ["wd", "cl", "per channel"])
def test_the_prefix_makes_the_very_input_that_the_host_would(name: str) -> None:
    """Bytes through the bound way with its Cast graph, floats through the plain one: the same scores, bit by bit."""
    model = tiny() if name == "wd" else cl_tagger()
    assert model.onnx is not None
    form = {
        "wd": WD,
        "cl": CL,
        "per channel": InputFormat(layout="NCHW", scale=(58.395, 57.12, 57.375), shift=(-2.1, -2.0, -1.8)),
    }[name]
    wanted = ModelInput(form, 448)
    session = ort.InferenceSession(str(model.onnx), providers=[CPU])
    head = ort.InferenceSession(BoundFeed.head(wanted), providers=[CPU])
    output = session.get_outputs()[0].name
    plain = PlainFeed(session, wanted, output)
    bound = BoundFeed(ort, session, head, wanted, output, "cpu", 0)
    options = ort.RunOptions()
    for count, rows in ((4, 4), (3, 4), (2, 2), (4, 4)):
        images = pictures(count)
        assert np.array_equal(
            plain.run(plain.fill(images, rows), options), bound.run(bound.fill(images, rows), options)
        )


def test_slots_filled_ahead_keep_their_pictures() -> None:
    """Three batches laid ready before the first one runs: none overwrites another."""
    session = opened("cpu")
    groups = [pictures(2), pictures(3), pictures(2)[::-1]]
    staged = [session.stage(group, 2) for group in groups]
    for group, batch in zip(groups, staged, strict=True):
        assert np.array_equal(session.finish(batch), session.run(group))


def test_pages_are_locked_through_cudas_runtime_and_unlocked_with_the_array() -> None:
    """Without that library nothing is locked, and nothing else changes."""
    calls: list[tuple[str, int]] = []
    library = SimpleNamespace(
        cudaHostRegister=lambda at, size, flags: calls.append(("lock", size.value)) or 0,
        cudaHostUnregister=lambda at: calls.append(("unlock", 0)),
    )
    array = np.empty((2, 8, 8, 3), np.uint8)
    assert lock_pages(array, library) and not lock_pages(np.empty(4), SimpleNamespace(cudaHostRegister=lambda *_: 1))
    del array
    assert calls == [("lock", 384), ("unlock", 0)]
    assert feeding._cuda_runtime() is None or lock_pages(np.empty(4))


def test_the_input_is_known_before_the_model_is_loaded(tmp_path: Path) -> None:
    """Decoding begins while the model loads: the file's header says what the session will."""
    for model in (tiny(), tiny("SmilingWolf_tiny-fixed4"), cl_tagger()):
        assert expected_input(model) == open_session(model, "cpu").input
    assert input_shape(MODELS / "SmilingWolf_tiny-fixed4" / "model.onnx") == [4, 448, 448, 3]
    for data in (b"", b"no model", prefix(WD, 448)[:60], bytes(range(256)) * 8):
        (tmp_path / "bad.onnx").write_bytes(data)
        assert input_shape(tmp_path / "bad.onnx") is None
    assert input_shape(tmp_path / "nothing.onnx") is None


def test_a_batch_in_the_model_can_be_broken_off() -> None:
    """`terminate` from another thread ends the running batch; `resume` takes new ones."""
    session = opened("cpu")
    images = pictures(1) * 192
    staged = session.stage(images)
    begun = threading.Event()

    def stop() -> None:
        begun.wait(5)
        session.terminate()

    stopper = threading.Thread(target=stop)
    stopper.start()
    begun.set()
    with pytest.raises(UserError):
        session.finish(staged)
    stopper.join()
    session.resume()
    assert len(session.run(images[:2])) == 2


def test_loading_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load ends with a sentence instead of a session."""

    class Slow:
        """A model that takes its time, and looks at the flag as ONNX Runtime does."""

        def __init__(self) -> None:
            self.is_cancelled = False

        def __getattr__(self, name: str) -> Any:
            return getattr(ort, name)

        def SessionOptions(self) -> Any:
            real, outer = ort.SessionOptions(), self

            class Options:
                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

                def set_load_cancellation_flag(self, value: bool) -> None:
                    outer.is_cancelled = value
                    real.set_load_cancellation_flag(value)

            options = Options()
            options.__dict__["real"] = real
            return options

        def InferenceSession(self, model: str, options: Any, **how: Any) -> Any:
            deadline = time.monotonic() + 10
            while not self.is_cancelled and time.monotonic() < deadline:
                time.sleep(0.005)
            return ort.InferenceSession(model, options.real, providers=[CPU])

    monkeypatch.setattr(session_module, "available_runtime", Slow)
    with pytest.raises(UserError, match="cancelled"):
        opened("cpu", cancel=lambda: True)


def test_engine_options_are_words_onnx_runtime_knows(tmp_path: Path) -> None:
    """All values are text, and no provider gets another one's option."""
    for provider in PROVIDERS.values():
        options = engine_options(provider, device=1, vram_limit=2.5, cache=tmp_path)
        assert all(isinstance(value, str) for value in options.values())
    assert engine_options(PROVIDERS["openvino"], device=1, vram_limit=None, cache=tmp_path)["device_type"] == "GPU.1"


def test_the_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """onnxruntime would keep an id of the machine in the home folder: ours leaves nothing there."""
    code = "from core.tagging.providers import available_runtime as get; print(get().InferenceSession)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment["HOME"] = str(tmp_path)
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*"))
