"""Three trainers behind one question, what it prints, writes and returns: recordings, demo trainer, real sd-scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from core.runs.artifacts import read_header
from core.runs.events import EventFile, find_events
from core.runs.progress import ProgressReader

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "data" / "recordings"
# Read here: a test itself sees no KOHYA_TUI_* variable.
SD_SCRIPTS, SD_PYTHON, SD_MODEL = (os.environ.get(f"KOHYA_TUI_SD_{name}") for name in ("SCRIPTS", "PYTHON", "MODEL"))
HUB = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
"""Where the real trainer finds its tokenizer; tests themselves run without these variables."""
DEADLINE = 900.0 if SD_SCRIPTS else 90.0


@dataclass
class Observed:
    """What is seen of one run from outside. Paths are relative to the run's output folder."""

    stdout: str
    stderr: str
    returncode: int
    scalars: dict[str, list[tuple[int, float]]]
    files: frozenset[str]
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    states: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """Everything on stderr, one line for each line or refresh of a bar, without escape sequences."""
        return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.stderr)) if line]

    @property
    def log(self) -> str:
        """The log on one line, wrapping undone: what a reader searches for a phrase."""
        rows = (re.sub(r"\s+[\w]+\.py:\d+\s*$", "", line) for line in self.lines)
        return re.sub(r"\s+", " ", " ".join(row[29:] if re.match(r"[\d :-]{19} ", row) else row for row in rows))

    @property
    def bars(self) -> list[str]:
        """Every state of the step bar."""
        return [line for line in self.lines if line.startswith("steps:")]

    @property
    def last_step(self) -> tuple[int, int]:
        """The step and the total that the bar ended with."""
        match = re.search(r"\| *(\d+)/(\d+) \[", self.bars[-1])
        assert match is not None
        return int(match[1]), int(match[2])

    @property
    def last_error(self) -> str:
        """The last line that names an exception."""
        return next(line for line in reversed(self.lines) if re.match(r"[\w.]+(Error|Invalid|Interrupt)\b", line))

    def progress(self) -> tuple[ProgressReader, list[str]]:
        """Our own reader after the whole output, and the phases it went through."""
        reader = ProgressReader()
        reader.keep_texts = True
        phases: list[str] = []
        for data in (self.stderr.encode(), b"\n", self.stdout.encode()):
            for start in range(0, len(data), 100):
                phase = reader.feed(data[start : start + 100]).phase
                if not phases or phases[-1] != phase:
                    phases.append(phase)
        return reader, phases


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for path in find_events(folder):
        for scalar in EventFile(path).read():
            found.setdefault(scalar.tag, []).append((scalar.step, scalar.value))
    return found


class Recorded:
    """The recordings of the real trainer."""

    name = "recorded"
    KNOWN: Mapping[str, str] = {
        "plain": "sd15_cols_pipe",
        "narrow": "sd15_samples",
        "long": "sd15_long",
        "both_networks": "guide_fixed",
        "samples": "sd15_samples",
        "simple_log": "sd15_stdout_simple",
        "no_logging_dir": "sd15_no_logging_dir",
        "no_data": "sd15_no_data",
        "bad_argument": "sd15_bad_argument",
        "model_missing": "sd15_model_missing",
        "bad_precision": "sd15_bad_precision",
        "network_args_text": "sd15_network_args_str",
        "workers_0": "sd15_persistent_workers0",
        "too_large": "sd15_no_cache_no_bucket",
        "samples_without_prompts": "sd15_sample_none",
        "sigterm": "sd15_sigterm",
        "sigint": "sd15_sigint",
        "nan": "sd15_nan",
        "validation": "sd15_validation",
        "resume": "sd15_resume",
        "resume_skip": "sd15_resume_skip",
        "resume_again": "sd15_resume_again_fixed",
        "resume_within_epoch": "sd15_resume_midepoch",
        "resume_finished": "sd15_resume_finished",
        "guide_as_written": "guide_as_written",
    }

    def observe(self, case: str) -> Observed:
        folder = RECORDINGS / self.KNOWN[case]
        meta = json.loads((folder / "meta.json").read_text("utf-8"))

        def text(name: str) -> str:
            path = folder / name
            return path.read_bytes().decode("utf-8") if path.exists() else ""

        artefacts = folder / "artefacts"
        headers = {
            path.name.removesuffix(".header.json"): json.loads(path.read_text("utf-8"))["__metadata__"]
            for path in artefacts.rglob("*.header.json")
        }
        states = {path.parent.name: json.loads(path.read_text("utf-8")) for path in artefacts.rglob("train_state.json")}
        files = frozenset(name.partition("/out/")[2] for name in meta["files_at_end"] if "/out/" in name)
        return Observed(
            text("stdout.bin"), text("stderr.bin"), meta["returncode"], _scalars(artefacts), files, headers, states
        )


class Started:
    """A trainer that is started here, once for each case."""

    def __init__(self, folder: Path, name: str, command: list[str], model: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._folder = folder
        self._command = command
        self._environment = environment
        self._model = model
        self._seen: dict[str, Observed] = {}
        (folder / "shapes").mkdir(parents=True)
        (folder / "empty").mkdir()
        _draw_shapes(folder / "shapes")

    def observe(self, case: str) -> Observed:
        if case not in self._seen:
            for before in CASES[case].after:
                self.observe(before)
            self._seen[case] = self._run(case, CASES[case])
        return self._seen[case]

    def _run(self, name: str, case: Case) -> Observed:
        job = self._folder / name
        job.mkdir()
        out = job / "out"
        train = {
            "pretrained_model_name_or_path": str(self._model),
            "dataset_config": f"{name}/dataset.toml",
            "output_dir": f"{name}/out",
            "output_name": "my_lora",
            "logging_dir": f"{name}/logs",
            **TRAIN,
            **case.train,
        }
        train = {key: value for key, value in train.items() if value is not None}
        (job / "train.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in train.items()))
        dataset = {**DATASET, **case.dataset}
        subset = {"image_dir": "shapes", "num_repeats": 1, **case.subset}
        general = 'shuffle_caption = true\ncaption_extension = ".txt"\nkeep_tokens = 1'
        rows = ["[general]", general, "[[datasets]]", *_rows(dataset), "[[datasets.subsets]]", *_rows(subset)]
        (job / "dataset.toml").write_text("\n".join(rows) + "\n")
        (job / "prompts.txt").write_text(PROMPTS)
        config = f"{name}/train.toml"
        if case.guide:
            config = f"{name}/guide.toml"
            (job / "guide.toml").write_text(GUIDE)
        arguments = ["--config_file", config, *case.arguments]
        environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | self._environment
        environment |= case.environment
        with (job / "stdout").open("wb") as stdout, (job / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                start_new_session=True,
                # An interrupt that the caller of these tests ignores would be ignored here too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            try:
                if case.signal is not None:
                    _wait_for(job / "stderr", f" {case.signal_at}/", process)
                    os.killpg(process.pid, case.signal)
                returncode = process.wait(DEADLINE)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        files = frozenset(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        return Observed(
            (job / "stdout").read_text("utf-8"),
            (job / "stderr").read_bytes().decode("utf-8"),
            returncode,
            _scalars(job / "logs"),
            files,
            {path.name: read_header(path) for path in out.glob("*.safetensors")},
            {path.parent.name: json.loads(path.read_text("utf-8")) for path in out.glob("*/train_state.json")},
        )


@dataclass(frozen=True)
class Case:
    """What differs from the plain run; `train` values of None are left out."""

    train: Mapping[str, object] = field(default_factory=dict)
    dataset: Mapping[str, object] = field(default_factory=dict)
    subset: Mapping[str, object] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: {"COLUMNS": "400"})
    after: tuple[str, ...] = ()
    signal: signal.Signals | None = None
    signal_at: int = 10
    guide: bool = False


TRAIN: dict[str, object] = {
    "save_model_as": "safetensors",
    "save_precision": "fp16",
    "save_every_n_epochs": 1,
    "network_module": "networks.lora",
    "network_dim": 4,
    "network_alpha": 2,
    "network_train_unet_only": True,
    "learning_rate": 1e-4,
    "lr_scheduler": "cosine_with_restarts",
    "lr_warmup_steps": 0,
    "lr_scheduler_num_cycles": 1,
    "optimizer_type": "AdamW",
    "max_train_epochs": 1,
    "seed": 42,
    "mixed_precision": "no",
    "cache_latents": True,
    "sdpa": True,
    "max_data_loader_n_workers": 0,
}
DATASET: dict[str, object] = {"resolution": 64, "batch_size": 1}
BUCKETS: dict[str, object] = {
    "resolution": 96,
    "enable_bucket": True,
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "bucket_reso_steps": 64,
}
PROMPTS = """# one prompt per line; --n negative, --w/--h size, --d seed, --l cfg scale, --s steps
character_name, 1girl, solo, looking at viewer --n low quality --w 64 --h 64 --d 1 --l 7 --s 2
character_name, outdoors --w 64 --h 64 --d 2 --s 1
"""
GUIDE = """[general]
enable_bucket = true
caption_extension = ".txt"

[[datasets]]
resolution = 512
batch_size = 1

  [[datasets.subsets]]
  image_dir = "shapes"
  num_repeats = 1

[training_args]
max_train_epochs = 10
seed = 42

[saving_args]
output_dir = "guide_as_written/out"
"""
SLOW = {"COLUMNS": "400", "KOHYA_TUI_DEMO_STEP_SECONDS": "0.1"}
SLOW_NARROW = {"KOHYA_TUI_DEMO_STEP_SECONDS": "0.1"}
STEP_STATES: dict[str, object] = {
    "max_train_epochs": 2,
    "save_every_n_epochs": None,
    "save_every_n_steps": 4,
    "save_state": True,
}
TWICE: dict[str, object] = {"num_repeats": 2}
CASES: dict[str, Case] = {
    "plain": Case(),
    "narrow": Case(environment={}),
    "long": Case(
        {
            "max_train_epochs": 10,
            "save_every_n_epochs": 2,
            "save_last_n_epochs": 6,
            "sample_every_n_epochs": 2,
            "sample_prompts": "long/prompts.txt",
            "save_state": True,
            "save_last_n_epochs_state": 2,
        },
        dataset=BUCKETS,
        subset={"num_repeats": 5},
        environment={},
    ),
    "both_networks": Case(
        {
            "network_train_unet_only": None,
            "max_train_epochs": 3,
            "save_every_n_epochs": 2,
            "clip_skip": 2,
            "max_token_length": 225,
        },
        dataset=BUCKETS,
    ),
    "samples": Case(
        {
            "max_train_epochs": 2,
            "sample_every_n_epochs": 1,
            "sample_prompts": "samples/prompts.txt",
            "sample_sampler": "euler_a",
            "sample_at_first": True,
        },
        environment={},
    ),
    "simple_log": Case({"console_log_simple": True}),
    "no_logging_dir": Case({"logging_dir": None}),
    "no_data": Case(subset={"image_dir": "empty"}),
    "bad_argument": Case(arguments=("--netwrok_dim", "8")),
    "model_missing": Case({"pretrained_model_name_or_path": "models/nope.safetensors"}),
    "bad_precision": Case({"mixed_precision": "fp32"}),
    "network_args_text": Case({"network_args": "conv_dim=4"}),
    "workers_0": Case({"persistent_data_loader_workers": True}),
    "too_large": Case({"cache_latents": None}),
    "unknown_dataset_key": Case(subset={"num_repeat": 3}),
    "samples_without_prompts": Case({"sample_every_n_epochs": 1}),
    "sigterm": Case({"max_train_epochs": 2}, subset={"num_repeats": 5}, environment=SLOW, signal=signal.SIGTERM),
    "sigint": Case({"max_train_epochs": 2}, subset={"num_repeats": 5}, environment=SLOW, signal=signal.SIGINT),
    "validation": Case(
        {"max_train_epochs": 2, "validate_every_n_steps": 2},
        dataset={**DATASET, "validation_split": 0.34},
        environment={},
    ),
    "nan": Case({"max_train_epochs": 3, "learning_rate": 1e20, "max_grad_norm": 0.0}),
    "resume_first": Case({"max_train_epochs": 4, "save_state": True}),
    "resume": Case(
        {"max_train_epochs": 4, "save_state": True},
        arguments=("--resume", "resume_first/out/my_lora-000002-state"),
        after=("resume_first",),
    ),
    "resume_skip": Case(
        {"max_train_epochs": 4, "save_state": True},
        arguments=("--resume", "resume_first/out/my_lora-000002-state", "--skip_until_initial_step"),
        after=("resume_first",),
    ),
    "resume_again": Case(
        {"max_train_epochs": 4, "save_state": True},
        arguments=("--resume", "resume/out/my_lora-000003-state", "--initial_epoch", "4"),
        after=("resume",),
    ),
    "step_states": Case(STEP_STATES, subset=TWICE),
    "resume_within_epoch": Case(
        {"max_train_epochs": 2},
        subset=TWICE,
        arguments=("--resume", "step_states/out/my_lora-step00000016-state"),
        after=("step_states",),
    ),
    "resume_skip_within_epoch": Case(
        {"max_train_epochs": 2},
        subset=TWICE,
        arguments=("--resume", "step_states/out/my_lora-step00000016-state", "--skip_until_initial_step"),
        after=("step_states",),
    ),
    "resume_finished": Case(
        {"max_train_epochs": 2},
        subset=TWICE,
        arguments=("--resume", "step_states/out/my_lora-state"),
        after=("step_states",),
    ),
    "guide_as_written": Case(guide=True),
}


def _rows(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def _draw_shapes(folder: Path) -> None:
    tags = ("red circle, smile", "blue square, solo", "green circle", "orange square", "purple circle", "black square")
    for index, (tag, colour) in enumerate(
        zip(tags, ("red", "blue", "green", "orange", "purple", "black"), strict=True)
    ):
        image = Image.new("RGB", (128, 64) if index == 5 else (96, 96), "white")
        ImageDraw.Draw(image).ellipse((20, 10, 76, 60), fill=colour)
        image.save(folder / f"img_{index:02}.png")
        (folder / f"img_{index:02}.txt").write_text(f"character_name, 1girl, {tag}\n")


def _wait_for(path: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + DEADLINE
    while f"{text}".encode() not in path.read_bytes():
        assert process.poll() is None, path.read_text("utf-8", "replace")
        assert time.monotonic() < end, f"{text!r} never came"
        time.sleep(0.02)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark for what was never recorded."""
    config.addinivalue_line("markers", "unrecorded: a contract case that only a trainer started here can answer")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test for each trainer that there is; the real one only where the environment points at one."""
    if "trainer" in metafunc.fixturenames:
        names = [] if metafunc.definition.get_closest_marker("unrecorded") else ["recorded"]
        names += ["demo", "real"] if SD_SCRIPTS and SD_PYTHON and SD_MODEL else ["demo"]
        metafunc.parametrize("trainer", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def trainer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded | Started:
    """One of the three trainers."""
    if request.param == "recorded":
        return Recorded()
    folder = tmp_path_factory.mktemp(request.param)
    environment = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    if request.param == "demo":
        from core.demo.trainer.base import write_base

        model = write_base(folder / "models" / "demo.safetensors")
        command = [sys.executable, "-P", "-m", "core.demo.trainer"]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return Started(folder / "work", "demo", command, model, {**environment, "PYTHONPATH": path})
    assert SD_SCRIPTS and SD_PYTHON and SD_MODEL
    command = [SD_PYTHON, str(Path(SD_SCRIPTS) / "train_network.py")]
    return Started(folder / "work", "real", command, Path(SD_MODEL), environment | HUB)


@pytest.fixture
def observe(trainer: Recorded | Started) -> Callable[[str], Observed]:
    """A case's name → what was observed; each case is run once for each trainer."""
    return trainer.observe


@pytest.fixture(scope="session")
def has_real_trainer() -> bool:
    """Whether the environment points at a real sd-scripts."""
    return bool(SD_SCRIPTS and SD_PYTHON and SD_MODEL)
