"""What goes wrong with the machine: disk, memory, GPU and driver, packages."""

from __future__ import annotations

from core.runs.cause import Rule, rule

_LESS = "Lower train_batch_size or resolution, or turn on gradient_checkpointing and cache_latents."
_SEE_IT = "Set max_data_loader_n_workers = 0 to see its own error; memory (RAM) is the usual cause."
_DRIVER = "Update the driver, or install a torch for an older CUDA: kohya-tui setup sd-scripts"

MACHINE: tuple[Rule, ...] = (
    # First what a full disk is mistaken for, then the disk: what follows from it looks like many other things.
    rule(
        "shared-memory",
        r"unable to write to file </torch_|out of shared memory|shared memory limit|killed by signal: Bus error"
        r"|unable to mmap \d+ bytes from file"
        r"|/dev/shm|unable to open shared memory object|received 0 items of ancdata",
        "The data-loader workers ran out of shared memory (/dev/shm).",
        "Set max_data_loader_n_workers = 0, or give the container more (docker run --shm-size=8g).",
    ),
    rule(
        "disk-full",
        r"No space left on device|Disk quota exceeded|StorageFull|os error (?:28|122)\b|PytorchStreamWriter failed"
        r"|inline_container\.cc:\d+\] \. unexpected pos|basic_ios::clear: iostream error|serializing: IoError"
        r"|\d+ requested and \d+ written",
        "The disk is full: the last checkpoint may be cut off.",
        "Free some space, then resume or start again; save less often or fewer states.",
    ),
    rule(
        "read-only",
        r"Read-only file system",
        "The trainer may not write: the file system is read-only ({message}).",
        "Set output_dir to a disk that can be written; a disk with errors is mounted read-only: see `dmesg`.",
    ),
    rule(
        "file-too-large",
        r"\[Errno 27\]|File too large",
        "The disk takes no file of this size.",
        "FAT32 ends at 4 GiB: set output_dir to another disk; else `ulimit -f` or a quota.",
    ),
    # Memory
    rule(
        "worker-killed",
        r"DataLoader worker \(pid[^)]*\) is killed by signal: Killed",
        "A data-loader worker was killed: most often the machine ran out of memory (RAM).",
        "Use fewer max_data_loader_n_workers, or cache latents to disk, or a machine with more memory.",
    ),
    rule(
        "worker-died",
        r"DataLoader worker \(pid[^)]*\) (?:exited unexpectedly|is killed by signal)",
        "A data-loader worker died: {message}.",
        _SEE_IT,
    ),
    rule(
        "worker-died",
        r"DataLoader worker \(pid\(s\) [^)]*\) exited unexpectedly|Pin memory thread exited",
        "A data-loader worker died: {message}.",
        _SEE_IT,
        weak=True,  # the one above it says how
    ),
    rule(
        "out-of-memory",
        r"OutOfMemoryError|CUDA out of memory|HIP out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
        r"|CUDA (?:driver )?error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUSOLVER_STATUS_ALLOC_FAILED",
        "The GPU ran out of memory{sizes}.",
        _LESS,
    ),
    rule(
        "out-of-memory",
        r"CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine to execute|Unable to find a valid cuDNN algorithm"
        r"|NVML_SUCCESS == r INTERNAL ASSERT",
        "The GPU could not begin a computation, most often for want of memory: {message}.",
        _LESS + " If there is plenty, torch and the driver do not fit: kohya-tui doctor",
    ),
    rule(
        "host-memory",
        r"^_?(?:Array)?MemoryError|DefaultCPUAllocator: (?:can't|not enough)|Cannot allocate memory|std::bad_alloc"
        r"|paging file is too small|Unable to allocate [\d.]+ \w+ for an array",
        "The machine ran out of memory (RAM): {message}.",
        "Use fewer max_data_loader_n_workers, close what else runs, cache latents to disk, or add swap.",
    ),
    rule(
        "open-files",
        r"Too many open files",
        "The trainer has too many files open.",
        "Raise the limit (`ulimit -n 65536`) before starting kohya-tui, or use fewer data-loader workers.",
    ),
    rule(
        "processes",
        r"can't start new thread|Resource temporarily unavailable|BlockingIOError",
        "The machine allows no more threads or processes: {message}.",
        "Use fewer max_data_loader_n_workers; raise `ulimit -u`, or the container's limit (docker run --pids-limit).",
    ),
    # The GPU and its driver
    rule(
        "illegal-memory",
        r"illegal memory access|CUDA_ERROR_ILLEGAL_ADDRESS",
        "The GPU driver reported an illegal memory access.",
        "Try again; if it comes back, turn off xformers, lower overclocking, or update the driver.",
    ),
    rule(
        "device-assert",
        r"device-side assert triggered|CUDA_ERROR_ASSERT",
        "A check on the GPU failed (device-side assert): often an index outside of its table.",
        "Check max_token_length, the tokenizer and clip_skip; CUDA_LAUNCH_BLOCKING=1 shows the right place.",
    ),
    rule(
        "no-kernel",
        r"no kernel image is available|device kernel image is invalid|invalid device function"
        r"|not compatible with the current PyTorch installation",
        "The installed torch has no code for this GPU.",
        "Install a torch that was built for it (a newer one for a new card): kohya-tui setup sd-scripts",
    ),
    rule(
        "gpu-old",
        r"FlashAttention only supports|not supported in this architecture|Expected is_sm\d+|requires compute capability"
        r"|only supported on (?:CUDA )?(?:devices|GPUs)",
        "This GPU is too old for an option: {message}.",
        "Use sdpa in place of flash attention, fp16 or bf16 in place of fp8, AdamW in place of an 8-bit optimizer.",
    ),
    rule(
        "gpu-busy",
        r"is/are busy or unavailable",
        "Another program has the GPU to itself: {message}.",
        "See who it is: kohya-tui gpu; or wait for it with --queue. Compute mode: nvidia-smi -c 0",
    ),
    rule(
        "driver-old",
        r"driver on your system is too old|driver version is insufficient|unsupported display driver"
        r"|forward compatibility was attempted|provided PTX was compiled with an unsupported toolchain",
        "The NVIDIA driver is too old for the installed torch: {message}.",
        _DRIVER,
    ),
    rule(
        "no-gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|not compiled with CUDA enabled|no CUDA-capable device"
        r"|CUDA driver initialization failed|cudaGetDeviceCount|Attempting to deserialize object on a CUDA device"
        r"|CUDA unknown error|did you call init\?|invalid device ordinal|fp16 mixed precision requires a GPU"
        r"|bf16 mixed precision requires",
        "The trainer found no usable GPU: {message}.",
        "See `kohya-tui gpu` and `kohya-tui doctor`: driver, CUDA_VISIBLE_DEVICES, and whether torch is the CPU build.",
    ),
    rule(
        "gpu-hardware",
        r"uncorrectable ECC|GPU has fallen off the bus|GPU is lost|uncorrectable NVLink|hardware stack error",
        "The GPU itself failed: {message}.",
        "Restart the machine; if it comes back, the card or its power supply is at fault (`dmesg | grep -i xid`).",
    ),
    rule(
        "system-old",
        r"version [`'](?P<library>GLIBC\w*_[\d.]+)' not found",
        "A library of the system is too old for a package of the trainer's Python: {library} is missing.",
        "Use a newer system or container image, or older packages: kohya-tui setup sd-scripts",
    ),
    rule(
        "compile",
        r"InductorError|TritonMissing|working triton installation|Failed to find C compiler|BackendCompilerFailed"
        r"|CppCompileError|torch\._dynamo",
        "torch.compile does not work here: {message}.",
        "Turn torch_compile off, or install what it needs (apt install build-essential python3-dev; triton).",
    ),
    rule(
        "two-devices",
        r"Expected all tensors to be on the same device",
        "Parts of the model lie on different devices: {message}.",
        "Turn off lowram and what moves parts to the CPU (blocks_to_swap, cpu_offload_checkpointing), one by one.",
    ),
    rule(
        "torch-mismatch",
        r"cuDNN version incompatibility|compiled with different CUDA|mismatches the version that was used to compile"
        r"|was removed in the NumPy|Numpy is not available|DLL load failed|libnvrtc-builtins|load library libcudnn"
        r"|forward\(\) got an unexpected keyword argument|undefined symbol"
        r"|operator torchvision::|compiled using NumPy 1\.x cannot be run|CUDA .* does not match"
        r"|CUDA Setup failed|'NoneType' object has no attribute 'c\w*(?:quantize|adam|8bit)|cannot import name"
        r"|module '(?!torch\.optim')[\w.]+' has no attribute|multiarray failed to import|numpy\.dtype size changed",
        "Packages of the trainer's Python do not fit each other: {message}.",
        "Install the versions of sd-scripts' requirements.txt again (torch, xformers, bitsandbytes, numpy):"
        " kohya-tui setup sd-scripts",
    ),
    rule(
        "port",
        r"EADDRINUSE|Address already in use|launch distributed communication on port",
        "The port for talking to the other processes is taken: {message}.",
        "Another training or its leftover has it: choose another with --main-port, or leave it out.",
    ),
    rule(
        "nccl",
        r"NCCL|DistBackendError|Watchdog caught collective|ProcessGroup\w+ (?:error|.* timed out)|DistStoreError"
        r"|DistNetworkError|Connection closed by peer|Connection reset by peer|gloo/transport",
        "The processes of this training lost each other (NCCL): {message}.",
        "Look for the first error of another rank; else try NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1.",
        weak=True,
    ),
    rule(
        "cuda",
        r"CUDA error|CUDNN_STATUS|cuBLAS|CUDNN_\w+|HIP error|CUDA driver error|CUDA kernel errors",
        "The GPU failed: {message}.",
        "Run `kohya-tui doctor`.",
    ),
    # Packages
    rule(
        "xformers",
        r"No xformers|No module named 'xformers|No operator found for `memory_efficient_attention",
        "xformers is asked for, but it is not installed (or does not work) in the trainer's Python.",
        "Use sdpa = true in place of xformers = true in train.toml.",
    ),
    rule(
        "bitsandbytes",
        r"No bitsandbytes|No module named 'bitsandbytes|No AdamW8bit|bitsandbytes version",
        "An 8-bit optimizer needs bitsandbytes, which is not installed in the trainer's Python: {message}.",
        "Install it there (python -m pip install bitsandbytes), or use optimizer_type AdamW or Adafactor.",
    ),
    rule(
        "package",
        r"No (?P<package>wandb)\b",
        "A package is missing in the trainer's Python: {package}.",
        "Install it there (python -m pip install; `kohya-tui doctor` names that Python), or remove log_with.",
    ),
    rule(
        "package",
        r"No (?P<package>lion_pytorch|dadaptation|prodigy|schedulefree|prodigyplus|lycoris)\b",
        "A package is missing in the trainer's Python: {package}.",
        "Install it there (python -m pip install; `kohya-tui doctor` names that Python), or choose another optimizer.",
    ),
    rule(
        "network-module",
        r"No module named '(?P<module>(?:networks|lycoris)[\w.]*)'",
        "network_module names a module that is not there: {module}.",
        "LoRA is networks.lora; for lycoris.kohya install lycoris-lora into the trainer's Python.",
    ),
    rule(
        "script-folder",
        r"No module named 'library",
        "The script does not find sd-scripts' own library folder.",
        "Point sd_scripts at the whole checkout, and unset PYTHONSAFEPATH.",
    ),
    rule(
        "package",
        r"No module named '?(?P<package>[\w.-]+)|(?:requires|require) the (?P<other>[\w-]+) library"
        r"|PackageNotFoundError: (?:No package metadata was found for )?(?P<third>[\w-]+)"
        r"|requires backend:? (?P<fourth>\w+)",
        "A package is missing in the trainer's Python: {message}.",
        "Install it there: python -m pip install -r requirements.txt (`kohya-tui doctor` names that Python).",
    ),
    rule(
        "library",
        r"(?P<library>[\w.+-]+\.so[\w.]*): cannot open shared object file",
        "A library of the system is missing: {library}.",
        "libGL.so.1 comes with apt install libgl1; libcud… and libnv… with the right torch: kohya-tui setup sd-scripts",
    ),
)
