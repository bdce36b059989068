"""Every way in which a training fails: the right cause, the place it names and the line that it rests on."""

# ruff: noqa: E501 (the texts are as they are printed)

from __future__ import annotations

import time
from pathlib import Path

import pytest

from core.runs.causes import RULES
from core.runs.diagnose import diagnose, find_cause, last_complaint

FAILURES = Path(__file__).parents[1] / "data" / "failures"

REAL = {
    "accelerate_precision": ("precision", "fp32"),
    "caption_not_utf8": ("caption-encoding", "can't decode byte 0x93"),
    "ckpt_html": ("model-broken", "invalid load key"),
    "ckpt_weights_only": ("model-unsafe", ".safetensors"),
    "dataset_bad_suffix": ("config-missing", "x.yaml"),
    "dataset_missing": ("config-missing", "nothere.toml"),
    "dataset_toml_syntax": ("toml", "(/data/train_data/ds.toml): Key group not on a line by itself"),
    "dataset_two_errors": ("dataset-config", "expected int at `resolution` in dataset 1"),
    "dataset_unknown_key": ("dataset-config", "`num_repeat` in subset 1 of dataset 1"),
    "disk_full_npz": ("disk-full", "disk is full"),
    "disk_full_png": ("disk-full", "disk is full"),
    "disk_full_safetensors": ("disk-full", "disk is full"),
    "disk_full_torch": ("disk-full", "disk is full"),
    "dtype_conv": ("dtype", "bias type"),
    "empty_params": ("nothing-to-train", "unet_lr"),
    "fp16_cpu": ("dtype", "Float and Half"),
    "host_memory_numpy": ("host-memory", "32.0 TiB"),
    "host_memory_plain": ("host-memory", "(RAM)"),
    "host_memory_torch": ("host-memory", "140737488355328 bytes"),
    "hub_file_no_network": ("hub-offline", "HF_HUB_OFFLINE"),
    "hub_gated": ("gated", "FLUX.1-dev"),
    "hub_not_found": ("hub-unknown", "nobody/none"),
    "hub_tokenizer_half_cached": ("hub-offline", "only in part"),
    "hub_tokenizer_offline": ("hub-offline", "clip-vit-large-patch14"),
    "image_bomb": ("image-too-many-pixels", "90000 pixels"),
    "image_broken_png": ("image", "(/data/train_data/k.png)"),
    "image_truncated": ("image", "(/data/train_data/j.jpg)"),
    "image_unidentified": ("image", "i.png"),
    "lr_string": ("number-as-text", "without quotes"),
    "matmul_shapes": ("weights-mismatch", "308x768 and 2048x640"),
    "model_path_missing_diffusers": ("model-missing", "models/animagine-xl-4.0.safetensors"),
    "network_module_missing": ("network-module", "lycoris-lora"),
    "network_module_typo": ("network-module", "networks.lorra"),
    "no_cuda_build": ("no-gpu", "not compiled with CUDA"),
    "npz_bad": ("cache", "Delete the .npz"),
    "npz_crc": ("cache", "Bad CRC-32"),
    "npz_empty": ("cache", "No data left"),
    "npz_key": ("cache", "not a file in the archive"),
    "npz_text": ("cache", "pickled"),
    "optimizer_8bit": ("bitsandbytes", "bitsandbytes"),
    "optimizer_args_bad": ("optimizer-args", "`decouple`"),
    "optimizer_args_literal": ("network-args", "betas=(0.9,0.99)"),
    "optimizer_lion": ("package", "lion_pytorch"),
    "optimizer_prodigy": ("package", "Prodigy"),
    "optimizer_unknown": ("optimizer", "AdamWWW"),
    "port_accelerate": ("port", "29598"),
    "port_in_use": ("port", "29599"),
    "read_only": ("permission", "Permission denied"),
    "repo_id_bad": ("model-missing", "openai_clip-vit-large-patch14"),
    "resume_missing": ("state-missing", "/data/output/x-state"),
    "safetensors_empty": ("model-broken", "HeaderTooSmall"),
    "safetensors_lfs": ("model-broken", "Git LFS"),
    "safetensors_truncated": ("model-broken", "cut off"),
    "scheduler_unknown": ("scheduler", "cosine_with_restart"),
    "state_dict_mismatch": ("weights-mismatch", "Sequential: Missing key(s)"),
    "toml_config_syntax": ("toml", "(/data/train_data/bad.toml): Unbalanced quotes (line 2"),
    "toml_dup_key": ("toml", "Duplicate keys"),
    "two_gpus_both_fail": ("error", "DistributedDataParallel is not needed"),
    "too_many_files": ("open-files", "ulimit -n"),
    "two_gpus_one_out_of_memory": ("out-of-memory", "2.00 GiB more, 512.00 MiB of 23.69 GiB"),
    "worker_bus": ("shared-memory", "/dev/shm"),
    "worker_exit": ("worker-died", "exit code 3"),
    "worker_image": ("image", "(/data/train_data/j.jpg)"),
    "worker_killed": ("worker-killed", "(RAM)"),
    "wrong_arch": ("wrong-model", "sdxl_train_network.py"),
}


def test_every_fixture_is_tried() -> None:
    """No file without its row."""
    assert {path.stem for path in FAILURES.glob("*.log")} == set(REAL)


@pytest.mark.parametrize("name", sorted(REAL))
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "under accelerate"])
def test_a_real_failure_is_explained(name: str, wrapped: bool) -> None:
    """Also between a bar and what accelerate adds; the line stands in the log, and everything can be shown."""
    log = (FAILURES / f"{name}.log").read_text("utf-8")
    kind, words = REAL[name]
    whole = "\rsteps:  12%|x| 7/60 [00:05<00:39,  1.34it/s, avr_loss=1.15]\n" + log
    if wrapped:
        whole += "\rsteps:  12%|x| 7/60 [00:06<00:39,  1.34it/s, avr_loss=1.15]" + WRAPPER
    cause = find_cause(whole, 1)
    assert cause is not None
    assert (cause.kind, words in str(cause)) == (kind, True), str(cause)
    assert cause.line is not None and cause.line in log.replace("[rank1]: ", "").replace("\t", " ")
    assert str(cause).isprintable() and len(str(cause)) < 700
    assert "{" not in cause.sentence.replace("{ code", "")


WRAPPER = """
Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "/data/venv/lib/python3.11/site-packages/accelerate/commands/launch.py", line 763, in simple_launcher
    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)
subprocess.CalledProcessError: Command '['/data/venv/bin/python', 'train_network.py']' returned non-zero exit status 1.
"""
ASYNC = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be"
    " incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)

WORDINGS = [
    (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 12.00 GiB total capacity; "
        "9.31 GiB already allocated; 0 bytes free; 10.40 GiB reserved in total by PyTorch)",
        "out-of-memory",
        "2.00 GiB more, 0 bytes of 12.00 GiB",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 23.69 GiB"
        " of which 12.94 MiB is free. Process 4242 has 15.10 GiB memory in use. Including non-PyTorch memory, this process"
        " has 8.50 GiB memory in use. Of the allocated memory 8.10 GiB is allocated by PyTorch, and 33.16 MiB is reserved",
        "out-of-memory",
        "process 4242 held 15.10 GiB",
    ),
    (
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "out-of-memory",
        "GPU ran",
    ),
    ("torch.AcceleratorError: CUDA error: out of memory" + ASYNC, "out-of-memory", "gradient_checkpointing"),
    ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "out-of-memory", "GPU ran"),
    ("RuntimeError: CUDA error: an illegal memory access was encountered" + ASYNC, "illegal-memory", "xformers"),
    ("torch.AcceleratorError: CUDA error: device-side assert triggered" + ASYNC, "device-assert", "max_token_length"),
    (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device" + ASYNC,
        "no-kernel",
        "built for it",
    ),
    (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by"
        " downloading and installing a new version",
        "driver-old",
        "11040",
    ),
    (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling"
        " NumCudaDevices() that might have already set an error? Error 803: system has unsupported display driver / cuda"
        " driver combination",
        "driver-old",
        "Update the driver",
    ),
    ("RuntimeError: No CUDA GPUs are available", "no-gpu", "kohya-tui gpu"),
    ("RuntimeError: CUDA error: invalid device ordinal" + ASYNC, "no-gpu", "CUDA_VISIBLE_DEVICES"),
    ("RuntimeError: CUDA error: uncorrectable ECC error encountered" + ASYNC, "gpu-hardware", "dmesg"),
    ("RuntimeError: CUDA error: unspecified launch failure" + ASYNC, "cuda", "unspecified launch failure"),
    (
        "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:275, unhandled"
        " system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.19.3\n"
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
        "nccl",
        "NCCL_P2P_DISABLE",
    ),
    ("ModuleNotFoundError: No module named 'bitsandbytes'", "bitsandbytes", "AdamW"),
    ("ModuleNotFoundError: No module named 'imagesize'", "package", "imagesize"),
    (
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
        "library",
        "apt install libgl1",
    ),
    (
        "ImportError: /data/venv/lib/python3.11/site-packages/xformers/_C.so: undefined symbol: _ZN3c10",
        "torch-mismatch",
        "do not fit",
    ),
    (
        "AttributeError: 'NoneType' object has no attribute 'cquantize_blockwise_fp16_nf4'",
        "torch-mismatch",
        "bitsandbytes",
    ),
    (
        "OSError: We couldn't connect to 'https://hub.test' to load the files, and couldn't find them in the cached files.",
        "hub-offline",
        "tokenizer_cache_dir",
    ),
    (
        "RuntimeError: [enforce fail at inline_container.cc:815] . PytorchStreamWriter failed writing file data/3: file"
        " write failed",
        "disk-full",
        "disk is full",
    ),
    (
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
        "disk-full",
        "disk is full",
    ),
    ("OSError: [Errno 122] Disk quota exceeded", "disk-full", "disk is full"),
    ("OSError: [Errno 30] Read-only file system: '/data/output/a.safetensors'", "read-only", "dmesg"),
    (
        "RuntimeError: NaN detected in latents: /data/train_data/rinni/10_rinni/rinni_003.png",
        "nan-latents",
        "rinni_003.png gave NaN",
    ),
    (
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "no-gpu",
        "usable GPU",
    ),
    ("ValueError: Attempting to unscale FP16 gradients.", "unscale-fp16", "bf16"),
    (
        "RuntimeError: Error(s) in loading state_dict for LoRANetwork:\n\tsize mismatch for lora_unet_down.weight: copying a"
        " param with shape torch.Size([32, 320]) from checkpoint, the shape in current model is torch.Size([16, 320]).",
        "weights-mismatch",
        "do not fit LoRANetwork: size mismatch",
    ),
    (
        "AssertionError: caption file is empty / キャプションファイルが空です: train_data/rinni/10_rinni/a.txt",
        "caption-empty",
        "10_rinni/a.txt",
    ),
    (
        'FileNotFoundError: No such file or directory: "models/none.safetensors"',
        "model-missing",
        "models/none.safetensors",
    ),
    (
        "RuntimeError: Parent directory /data/output/rinni/x does not exist.",
        "output-gone",
        "output folder was removed",
    ),
    ("OSError: [Errno 5] Input/output error", "input-output", "dmesg"),
    (
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='hub.test', port=443): Max retries exceeded",
        "hub-offline",
        "cannot be reached",
    ),
    (
        "RuntimeError: unable to mmap 128 bytes from file </torch_1_2_3>: Cannot allocate memory (12)",
        "shared-memory",
        "shm",
    ),
    # Words of 2025 and 2026, from the sources of the libraries
    (
        "RuntimeError: unable to write to file </torch_34_123_0>: No space left on device (28)",
        "shared-memory",
        "/dev/shm",
    ),
    ("OSError: [Errno 27] File too large", "file-too-large", "FAT32"),
    ("RuntimeError: can't start new thread", "processes", "pids-limit"),
    (
        "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "out-of-memory",
        "want",
    ),
    ("RuntimeError: GET was unable to find an engine to execute this computation", "out-of-memory", "train_batch_size"),
    (
        "torch.AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "gpu-busy",
        "kohya-tui gpu",
    ),
    ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", "gpu-old", "sdpa"),
    ("RuntimeError: HIP error: invalid device function", "no-kernel", "built for it"),
    ("AttributeError: `np.float_` was removed in the NumPy 2.0 release.", "torch-mismatch", "requirements.txt"),
    (
        "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x.so)",
        "system-old",
        "GLIBCXX_3.4.32",
    ),
    ("torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler.", "compile", "torch_compile"),
    ("RuntimeError: Expected all tensors to be on the same device, but found cuda:0 and cpu!", "two-devices", "lowram"),
    ("huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: x", "hub-busy", "log in"),
    (
        "requests.exceptions.SSLError: (SSLCertVerificationError(1, 'certificate verify failed'))",
        "hub-certificate",
        "proxy",
    ),
    (
        "OSError: Consistency check failed: file should be of size 17 but has size 3 (a.bin).",
        "model-broken",
        "Fetch it",
    ),
    (
        "ValueError: Due to a serious vulnerability issue in `torch.load`, we now require",
        "model-unsafe",
        ".safetensors",
    ),
    ("zlib.error: Error -3 while decompressing data: incorrect data check", "cache", "Delete the .npz"),
    ("RuntimeError: stack expects each tensor to be equal size, but got [4, 96, 96] at entry 0", "sizes-differ", "npz"),
    ("wandb.errors.errors.UsageError: api_key not configured (no-tty).", "login", "wandb login"),
    ("AttributeError: 'Namespace' object has no attribute 'huber_scale'", "checkout", "git status"),
    ("NotImplementedError: Unsupported Loss Type: l3", "option-value", "Loss Type"),
    ("FileExistsError: [Errno 17] File exists: '/data/output/rinni'", "in-the-way", "Move it away"),
    ("KeyError: 'encoder.conv_in.weight'", "wrong-vae", "VAE"),
    (
        "AssertionError: full_fp16 requires mixed precision='fp16' / full_fp16を使う場合は",
        "precision",
        "remove that option",
    ),
    ("ValueError: could not convert string to float: 'two'", "number-as-text", "quotes"),
    (
        '  File "/data/sd-scripts/library/train_util.py", line 1079, in make_buckets\nZeroDivisionError: division by zero',
        "option-value",
        "batch_size is 0",
    ),
    (
        '  File "/data/venv/site-packages/torch/optim/adam.py", line 62, in a\n'
        "TypeError: 'float' object is not subscriptable",
        "optimizer-args",
        "betas=(0.9,0.99)",
    ),
    (
        '  File "/data/sd-scripts/library/strategy_sd.py", line 77, in a\nIndexError: tuple index out of range',
        "option-value",
        "clip_skip is larger",
    ),
    (
        '  File "/data/sd-scripts/library/flux_utils.py", line 67, in a\nValueError: max() arg is an empty sequence',
        "wrong-model",
        "no FLUX model",
    ),
    (
        '  File "/data/sd-scripts/networks/lora_flux.py", line 935, in b\n'
        "TypeError: 'CLIPTextModel' object is not iterable",
        "network-module",
        "another architecture",
    ),
]


@pytest.mark.parametrize(("text", "kind", "words"), WORDINGS, ids=[f"{i}-{row[1]}" for i, row in enumerate(WORDINGS)])
def test_the_wordings_of_a_gpu_are_known(text: str, kind: str, words: str) -> None:
    """What cannot be made to happen without one, in torch's words."""
    log = f'Traceback (most recent call last):\n  File "/data/x.py", line 3, in f\n    g()\n{text}\n'
    cause = find_cause(f"epoch 1/4\n{log}", 1)
    assert cause is not None
    assert (cause.kind, words in str(cause)) == (kind, True), str(cause)
    assert str(cause).isprintable()


def test_what_it_was_doing_changes_the_advice() -> None:
    """Out of memory while samples are drawn, or while latents are cached, has switches of its own."""
    error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.\n"
    frames = 'Traceback (most recent call last):\n  File "/sd/train_util.py", line 9, in {}\n    f()\n'
    assert "drawing samples" in (diagnose(frames.format("sample_image_inference") + error, 1) or "")
    assert "vae_batch_size" in (diagnose(frames.format("cache_batch_latents") + error, 1) or "")


def test_an_error_that_was_survived_is_not_the_cause() -> None:
    """A warning with a traceback at the start; the real end is another one, known or not."""
    early = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\nOSError: [Errno 28] No space left on device\n'
    )
    late = "Traceback (most recent call last):\n  File \"b.py\", line 2, in g\nKeyError: 'strange'\n"
    cause = find_cause(f"{early}epoch 1/2\n" + "a line\n" * 200 + late, 1)
    assert cause is not None
    assert cause.kind == "error"
    assert "b.py, line 2" in str(cause)


def test_a_trainer_killed_inside_its_launcher() -> None:
    """accelerate ends with 1 and tells of the signal; with several processes torchrun ends the others itself."""
    one = WRAPPER.replace("returned non-zero exit status 1.", "died with <Signals.SIGKILL: 9>.")
    assert (find_cause("epoch 1/2\n" + one, 1) or 0).kind == "killed"  # type: ignore[union-attr]
    assert (find_cause("epoch 1/2\n" + one, 1, oom_killed=True) or 0).kind == "killed-oom"  # type: ignore[union-attr]
    several = (
        'Traceback (most recent call last):\n  File "x", line 1, in run\n'
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\nFailures:\n[1]:\n"
        "  exitcode  : -15 (pid: 4)  (SIGTERM)\nRoot Cause (first observed failure):\n[0]:\n"
        "  exitcode  : -9 (pid: 5)  (SIGKILL)\n"
    )
    assert (find_cause(several, 1) or 0).kind == "killed"  # type: ignore[union-attr]


def test_a_worker_that_the_kernel_killed() -> None:
    """The counter of the control group says what the worker could not."""
    log = (FAILURES / "worker_killed.log").read_text()
    assert (find_cause(log, 1, oom_killed=True) or 0).kind == "killed-oom"  # type: ignore[union-attr]


def test_an_abort_speaks_through_its_exception() -> None:
    """C++ ends the process with SIGABRT after its own words."""
    log = "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: out of memory\n"
    assert (find_cause(log, -6) or 0).kind == "out-of-memory"  # type: ignore[union-attr]
    assert (
        find_cause("Error out of memory at line 380 in file /src/csrc/pythonInterface.c\n", 1) or 0
    ).kind != "signal"  # type: ignore[union-attr]


def test_nan_explains_what_follows_from_it() -> None:
    """Unless the end has a cause of its own: a full disk is one."""
    bars = (
        "\rsteps: 1%|x| 1/9 [00:01<00:09, 1it/s, avr_loss=nan]\rsteps: 2%|x| 2/9 [00:01<00:09, 1it/s, avr_loss=nan]\n"
    )
    assert (find_cause(bars + "ValueError: cannot convert float NaN to integer\n", 1) or 0).kind == "nan"  # type: ignore[union-attr]
    assert (find_cause(bars + "OSError: [Errno 28] No space left on device\n", 1) or 0).kind == "disk-full"  # type: ignore[union-attr]


def test_rules_have_a_remedy_and_are_quick() -> None:
    """Everything but an interruption says what to do; 256 KiB of a strange log take no noticeable time."""
    assert [rule.kind for rule in RULES if rule.hint is None] == ["interrupted"]
    log = ("Traceback (most recent call last):\n" + '  File "x", line 1, in f\n' * 6 + "KeyError: 'x'\n\n") * 1200
    begun = time.process_time()
    find_cause(log[-262144:], 1)
    assert time.process_time() - begun < 1.0


def test_an_end_without_an_exception_has_its_last_complaint() -> None:
    """rc 0, no file, and one line of ERROR that rich wrapped."""
    log = (
        "2026-11-22 10:15:28 ERROR    Config file already exists.     train_util.py:4709\n"
        "                             Aborting... / 出力先の設定ファイルが既に存在します: \n"
        "                             /data/out.toml\nepoch 1/2\n"
    )
    assert last_complaint(log) == "Config file already exists. Aborting...: /data/out.toml"
    assert last_complaint("INFO nothing\n") is None


def test_a_config_that_is_gone_is_named() -> None:
    """sd-scripts only says so in an INFO line, and ends with 1."""
    log = (
        "2026-11-22 10:15:28 INFO     Loading settings from            train_util.py:4744\n"
        "                             /data/runs/a/train.toml...\n"
        "                    INFO     /data/runs/a/train.toml not      train_util.py:4747\n"
        "                             found.\n"
    )
    cause = find_cause(log, 1)
    assert cause is not None
    assert (cause.kind, "/data/runs/a/train.toml" in cause.sentence) == ("config-missing", True)
