"""What the trainer's errors mean: patterns over the last words of torch, accelerate, transformers and sd-scripts.

The texts are those of real failures (tests/data/recordings, tests/data/failures). The first rule that fits wins, so the
narrow ones stand above the wide ones. A weak rule speaks of a consequence: it counts only when nothing else is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` is searched in `Name: message` and the lines that follow it, without regard to case.

    `{message}`, `{sizes}`, `{file}` and the pattern's named groups are filled into the two texts.
    """

    kind: str
    pattern: re.Pattern[str]
    sentence: str
    hint: str | None
    weak: bool = False
    frame: str = ""
    """Part of the path of the file in which the error arose, for words that mean nothing by themselves."""


def _rule(kind: str, pattern: str, sentence: str, hint: str | None, *, weak: bool = False, frame: str = "") -> Rule:
    return Rule(kind, re.compile(pattern, re.IGNORECASE | re.DOTALL), sentence, hint, weak, frame)


_LESS = "Lower train_batch_size or resolution, or turn on gradient_checkpointing and cache_latents."
_OFFLINE = (
    "Connect once so that it is kept in the cache, unset HF_HUB_OFFLINE, or point the config at local files"
    " (tokenizer_cache_dir, a checkpoint in models/)."
)
_NOT_HERE = "Install it there: PYTHON -m pip install {package} (`kohya-tui doctor` names that Python)."
_DRIVER = "Update the driver, or install a torch for an older CUDA: kohya-tui setup sd-scripts"

RULES: tuple[Rule, ...] = (
    # Disk and files first: what follows from a full disk looks like many other things.
    _rule(
        "disk-full",
        r"No space left on device|Disk quota exceeded|StorageFull|os error (?:28|122)\b|PytorchStreamWriter failed"
        r"|inline_container\.cc:\d+\] \. unexpected pos|basic_ios::clear: iostream error|serializing: IoError"
        r"|\d+ requested and \d+ written",
        "The disk is full: the last checkpoint may be cut off.",
        "Free some space, then resume or start again; save less often or fewer states.",
    ),
    _rule(
        "read-only",
        r"Read-only file system",
        "The trainer may not write: the file system is read-only ({message}).",
        "Set output_dir to a disk that can be written; a disk with errors is mounted read-only: see `dmesg`.",
    ),
    # Memory
    _rule(
        "worker-killed",
        r"DataLoader worker \(pid[^)]*\) is killed by signal: Killed",
        "A data-loader worker was killed: most often the machine ran out of memory (RAM).",
        "Use fewer max_data_loader_n_workers, or cache latents to disk, or a machine with more memory.",
    ),
    _rule(
        "shared-memory",
        r"out of shared memory|shared memory limit|killed by signal: Bus error|unable to mmap \d+ bytes from file"
        r"|/dev/shm|unable to open shared memory object|received 0 items of ancdata",
        "The data-loader workers ran out of shared memory (/dev/shm).",
        "Set max_data_loader_n_workers = 0, or give the container more (docker run --shm-size=8g).",
    ),
    _rule(
        "worker-died",
        r"DataLoader worker \(pid(?:\(s\))? [^)]*\) (?:exited unexpectedly|is killed by signal)",
        "A data-loader worker died: {message}.",
        "Set max_data_loader_n_workers = 0 to see its own error; memory (RAM) is the usual cause.",
    ),
    _rule(
        "out-of-memory",
        r"OutOfMemoryError|CUDA out of memory|HIP out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
        r"|CUDA (?:driver )?error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUSOLVER_STATUS_ALLOC_FAILED",
        "The GPU ran out of memory{sizes}.",
        _LESS,
    ),
    _rule(
        "host-memory",
        r"^_?(?:Array)?MemoryError|DefaultCPUAllocator: (?:can't|not enough)|Cannot allocate memory|std::bad_alloc"
        r"|paging file is too small|Unable to allocate [\d.]+ \w+ for an array",
        "The machine ran out of memory (RAM): {message}.",
        "Use fewer max_data_loader_n_workers, close what else runs, cache latents to disk, or add swap.",
    ),
    _rule(
        "open-files",
        r"Too many open files",
        "The trainer has too many files open.",
        "Raise the limit (`ulimit -n 65536`) before starting kohya-tui, or use fewer data-loader workers.",
    ),
    # The GPU and its driver
    _rule(
        "illegal-memory",
        r"illegal memory access|CUDA_ERROR_ILLEGAL_ADDRESS",
        "The GPU driver reported an illegal memory access.",
        "Try again; if it comes back, turn off xformers, lower overclocking, or update the driver.",
    ),
    _rule(
        "device-assert",
        r"device-side assert triggered|CUDA_ERROR_ASSERT",
        "A check on the GPU failed (device-side assert): often an index outside of its table.",
        "Check max_token_length, the tokenizer and clip_skip; CUDA_LAUNCH_BLOCKING=1 shows the right place.",
    ),
    _rule(
        "no-kernel",
        r"no kernel image is available|not compatible with the current PyTorch installation",
        "The installed torch has no code for this GPU.",
        "Install a torch that was built for it (a newer one for a new card): kohya-tui setup sd-scripts",
    ),
    _rule(
        "driver-old",
        r"driver on your system is too old|driver version is insufficient|unsupported display driver"
        r"|forward compatibility was attempted|provided PTX was compiled with an unsupported toolchain",
        "The NVIDIA driver is too old for the installed torch: {message}.",
        _DRIVER,
    ),
    _rule(
        "no-gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|not compiled with CUDA enabled|no CUDA-capable device"
        r"|CUDA driver initialization failed|cudaGetDeviceCount|Attempting to deserialize object on a CUDA device"
        r"|CUDA unknown error|invalid device ordinal|fp16 mixed precision requires a GPU"
        r"|bf16 mixed precision requires",
        "The trainer found no usable GPU: {message}.",
        "See `kohya-tui gpu` and `kohya-tui doctor`: driver, CUDA_VISIBLE_DEVICES, and whether torch is the CPU build.",
    ),
    _rule(
        "gpu-hardware",
        r"uncorrectable ECC|GPU has fallen off the bus|GPU is lost|uncorrectable NVLink|hardware stack error",
        "The GPU itself failed: {message}.",
        "Restart the machine; if it comes back, the card or its power supply is at fault (`dmesg | grep -i xid`).",
    ),
    _rule(
        "torch-mismatch",
        r"undefined symbol|operator torchvision::|compiled using NumPy 1\.x cannot be run|CUDA .* does not match"
        r"|CUDA Setup failed|'NoneType' object has no attribute 'c\w*(?:quantize|adam|8bit)|cannot import name"
        r"|module '(?!torch\.optim')[\w.]+' has no attribute|multiarray failed to import|numpy\.dtype size changed",
        "Packages of the trainer's Python do not fit each other: {message}.",
        "Install the versions of sd-scripts' requirements.txt again (torch, xformers, bitsandbytes, numpy):"
        " kohya-tui setup sd-scripts",
    ),
    _rule(
        "port",
        r"EADDRINUSE|Address already in use|launch distributed communication on port",
        "The port for talking to the other processes is taken: {message}.",
        "Another training or its leftover has it: choose another with --main-port, or leave it out.",
    ),
    _rule(
        "nccl",
        r"NCCL|DistBackendError|Watchdog caught collective|ProcessGroup\w+ (?:error|.* timed out)|DistStoreError"
        r"|DistNetworkError|Connection closed by peer|Connection reset by peer|gloo/transport",
        "The processes of this training lost each other (NCCL): {message}.",
        "Look for the first error of another rank; else try NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1.",
        weak=True,
    ),
    _rule(
        "cuda",
        r"CUDA error|CUDNN_STATUS|cuBLAS|CUDNN_\w+|HIP error|CUDA driver error|CUDA kernel errors",
        "The GPU failed: {message}.",
        "Run `kohya-tui doctor`.",
    ),
    # Numbers
    _rule(
        "nan-latents",
        r"NaN detected in (?P<what>latents|text encoder outputs): (?P<path>.+)",
        "Encoding {path} gave NaN (not a number).",
        "Set no_half_vae = true (the SDXL VAE breaks in fp16), or use another VAE; a damaged image does it too.",
    ),
    _rule(
        "unscale-fp16",
        r"Attempting to unscale FP16 gradients",
        "Weights in fp16 cannot be trained with mixed_precision fp16.",
        "Remove full_fp16, or the fp16 base of the text encoder; or use mixed_precision bf16.",
    ),
    _rule(
        "dtype",
        r"must have the same dtype|to have the same dtype|should be the same|not implemented for 'Half'"
        r"|not implemented for 'BFloat16'|expected scalar type \w+ but found|Unsupported dtype|have different dtypes",
        "Two parts work with different number formats: {message}.",
        "Make mixed_precision, full_fp16/full_bf16 and no_half_vae agree; fp16 does not work on a CPU.",
    ),
    # Packages
    _rule(
        "xformers",
        r"No xformers|No module named 'xformers|No operator found for `memory_efficient_attention",
        "xformers is asked for, but it is not installed (or does not work) in the trainer's Python.",
        "Use sdpa = true in place of xformers = true in train.toml.",
    ),
    _rule(
        "bitsandbytes",
        r"No bitsandbytes|No module named 'bitsandbytes|No AdamW8bit|bitsandbytes version",
        "An 8-bit optimizer needs bitsandbytes, which is not installed in the trainer's Python: {message}.",
        "Install it there (python -m pip install bitsandbytes), or use optimizer_type AdamW or Adafactor.",
    ),
    _rule(
        "package",
        r"No (?P<package>lion_pytorch|dadaptation|prodigy|schedulefree|wandb|prodigyplus|lycoris)\b",
        "A package is missing in the trainer's Python: {package}.",
        "Install it there (python -m pip install; `kohya-tui doctor` names that Python), or choose another optimizer.",
    ),
    _rule(
        "network-module",
        r"No module named '(?P<module>(?:networks|lycoris)[\w.]*)'",
        "network_module names a module that is not there: {module}.",
        "LoRA is networks.lora; for lycoris.kohya install lycoris-lora into the trainer's Python.",
    ),
    _rule(
        "script-folder",
        r"No module named 'library",
        "The script does not find sd-scripts' own library folder.",
        "Point sd_scripts at the whole checkout, and unset PYTHONSAFEPATH.",
    ),
    _rule(
        "package",
        r"No module named '?(?P<package>[\w.-]+)|(?:requires|require) the (?P<other>[\w-]+) library"
        r"|PackageNotFoundError: (?:No package metadata was found for )?(?P<third>[\w-]+)"
        r"|requires backend:? (?P<fourth>\w+)",
        "A package is missing in the trainer's Python: {message}.",
        "Install it there: python -m pip install -r requirements.txt (`kohya-tui doctor` names that Python).",
    ),
    _rule(
        "library",
        r"(?P<library>[\w.+-]+\.so[\w.]*): cannot open shared object file",
        "A library of the system is missing: {library}.",
        "libGL.so.1 comes with apt install libgl1; libcud… and libnv… with the right torch: kohya-tui setup sd-scripts",
    ),
    # The config
    _rule(
        "toml",
        r"TomlDecodeError|TOMLDecodeError",
        "A config file is not valid TOML{file}: {message}.",
        "Correct that line; strings need quotes at both ends. `kohya-tui check --config NAME` names it too.",
    ),
    _rule(
        "json",
        r"JSONDecodeError",
        "A JSON file cannot be read{file}: {message}.",
        "Correct it, or use the TOML form.",
    ),
    _rule(
        "dataset-config",
        r"MultipleInvalid: (?P<what>.*?)(?: for dictionary value)? @ data(?P<path>(?:\[[^\]]+\])+)",
        "The dataset config has a key or value that sd-scripts refuses: {what} at {place}.",
        "sd-scripts is strict there: exact names, whole numbers without a point, texts in quotes.",
    ),
    _rule(
        "dataset-config",
        r"MultipleInvalid|extra keys not allowed|datasets should not be an empty iterable",
        "dataset.toml has a key or value that sd-scripts refuses: {message}.",
        "It needs [[datasets]] with [[datasets.subsets]]; the path in the message names the place.",
    ),
    _rule(
        "config-missing",
        r"(?:file not found|not supported config file format)[^:]*: (?P<path>.+)",
        "The config names a file that is not there or not of a known kind: {path}.",
        "Relative paths start at the workspace; .toml and .json are read.",
    ),
    _rule(
        "workers",
        r"persistent_workers option needs num_workers > 0",
        "persistent_data_loader_workers needs max_data_loader_n_workers above 0.",
        "Set one worker or more, or persistent_data_loader_workers = false.",
    ),
    _rule(
        "precision",
        r"Unknown mixed_precision mode",
        "mixed_precision has an unknown value: {message}.",
        'Use "no", "fp16" or "bf16".',
    ),
    _rule(
        "network-args",
        r"not enough values to unpack \(expected 2, got 1\)|malformed node or string",
        "network_args or optimizer_args is not a list of `key=value` texts: {message}.",
        'Write it like network_args = ["conv_dim=4", "conv_alpha=1"]; values are Python: betas=(0.9,0.99).',
    ),
    _rule(
        "optimizer",
        r"Unknown optimizer type|module 'torch\.optim' has no attribute '(?P<name>\w+)'|not a valid optimizer",
        "optimizer_type is not known: {message}.",
        "Like AdamW, AdamW8bit, Adafactor, Prodigy, Lion; others as module.Class.",
    ),
    _rule(
        "optimizer-args",
        r"(?P<what>\w+)\.__init__\(\) got an unexpected keyword argument '(?P<key>\w+)'",
        "{what} does not know the argument `{key}` of optimizer_args (or network_args).",
        "Remove it, or choose the optimizer that it belongs to.",
    ),
    _rule(
        "scheduler",
        r"'(?P<name>[^']*)' is not a valid SchedulerType|requires `num_warmup_steps`|requires `num_training_steps`"
        r"|does not require `num_warmup_steps`",
        "lr_scheduler has a value that cannot be used: {message}.",
        "constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial; with_warmup needs steps.",
    ),
    _rule(
        "nothing-to-train",
        r"optimizer got an empty parameter list|no trainable parameters|element 0 of tensors does not require grad",
        "Nothing is left to train: the config turns everything off.",
        "Look at network_train_unet_only, network_train_text_encoder_only, unet_lr and text_encoder_lr (0?).",
    ),
    _rule(
        "number-as-text",
        r"not supported between instances of '(?:float|int)' and 'str'|must be real number, not str"
        r"|unsupported operand type\(s\) for [^:]+: '(?:float|int|str)' and '(?:str|float|int)'",
        "A number in the config is written as text: {message}.",
        "Write it without quotes: learning_rate = 1e-4",
    ),
    _rule(
        "resolution",
        r"resolution is required|min_bucket_reso must be|max_bucket_reso must be|object has no attribute 'split'",
        "The resolution in the config cannot be used: {message}.",
        'In dataset.toml it is a number or [width, height], in train.toml a text ("512,768"); one file for all is not'
        " read by sd-scripts.",
    ),
    _rule(
        "image-too-large",
        r"image too large, but cropping and bucketing are disabled",
        "An image is larger than the resolution, and nothing may shrink it: {message}.",
        "Set enable_bucket = true in dataset.toml.",
    ),
    _rule(
        "resumed-finished",
        r"max_train_steps should be greater than initial step",
        "This state is at the end of its training already: nothing is left to do.",
        "Raise max_train_epochs, or start a new run with network_weights.",
    ),
    _rule(
        "state-missing",
        r"Tried to find (?P<path>.+?) but folder does not exist|random_states_0\.pkl|Could not load random states"
        r"|optimizer\.bin|doesn't match the size of optimizer's group|different number of parameter groups",
        "The state to resume from is missing, incomplete or of another config: {message}.",
        "Resume from another `…-state` folder, with the network and optimizer of that run.",
    ),
    _rule(
        "sample-prompts",
        r"stat: path should be string|local variable 'prompts'|referenced before assignment",
        "Samples are asked for, but there is no prompt file (.txt, .toml or .json).",
        "Write prompts.txt, or remove sample_every_n_epochs and sample_every_n_steps.",
    ),
    # Captions, images, caches
    _rule(
        "encoding",
        r"UnicodeEncodeError",
        "The trainer cannot print its Japanese messages in this encoding.",
        "Set PYTHONUTF8=1 (runs started by kohya-tui have it).",
    ),
    _rule(
        "caption-encoding",
        r"UnicodeDecodeError",
        "A caption or config file is not UTF-8{file}: {message}.",
        "Save it as UTF-8 (iconv -f shift-jis -t utf-8); `kohya-tui check` lists them all.",
    ),
    _rule(
        "caption-empty",
        r"caption file is empty[^:]*: (?P<path>.+)",
        "A caption file is empty: {path}.",
        "Write tags into it, or delete it.",
    ),
    _rule(
        "image-too-many-pixels",
        r"DecompressionBombError",
        "An image has too many pixels to be opened{file}: {message}.",
        "Shrink it: kohya-tui resize DATASET --max-side 4096",
    ),
    _rule(
        "image",
        r"UnidentifiedImageError|cannot identify image file|ZeroDivisionError|Truncated File Read"
        r"|image file is truncated|broken data stream|broken PNG|unrecognized data stream|SyntaxError: not a \w+ file"
        r"|bad EXIF|decoder error|cannot write mode|Corrupt (?:JPEG|EXIF)|premature end",
        "An image cannot be read{file}: {message}.",
        "Replace or remove it; `kohya-tui check` finds all that are broken.",
    ),
    _rule(
        "cache",
        r"BadZipFile|No data left in file|is not a file in the archive|contains pickled \(object\) data"
        r"|Cannot load file containing pickled|cannot reshape array|Bad magic number for|latents.* not found in .*npz"
        r"|npz is old format|Bad CRC-32|EOF: reading array data",
        "A latents cache (.npz) is broken or of another kind{file}: {message}.",
        "Delete the .npz files beside the images; they are made anew.",
    ),
    # Models
    _rule(
        "model-broken",
        r"HeaderTooLarge|HeaderTooSmall|MetadataIncompleteBuffer|InvalidHeader\w*|InvalidTensorView|InvalidOffset"
        r"|Error while deserializing|UnpicklingError: (?:invalid load key|pickle data was truncated)"
        r"|PytorchStreamReader failed|unexpected EOF|not a ZIP archive|Ran out of input",
        "A model file is damaged or cut off{file}: {message}.",
        "Fetch it again and compare its size; a file of a few hundred bytes is a Git LFS pointer or an error page.",
    ),
    _rule(
        "model-unsafe",
        r"Weights only load failed",
        "torch refuses this old checkpoint format (.ckpt, .pt), which can hold programs.",
        "Use the .safetensors of that model.",
    ),
    _rule(
        "gated",
        r"GatedRepoError|Cannot access gated repo|Access to model .* is restricted",
        "The model hub lets only registered users have this model: {message}.",
        "Ask for access on its page, then log in: huggingface-cli login (or HF_TOKEN).",
    ),
    _rule(
        "hub-unknown",
        r"RepositoryNotFoundError|Repository Not Found|RevisionNotFoundError|EntryNotFoundError: 404"
        r"|Invalid credentials",
        "The model hub does not know this model, or it is private: {message}.",
        "Correct the name in the config; a local file needs its path, seen from the workspace.",
    ),
    _rule(
        "hub-offline",
        r"TypeError: expected str, bytes or os\.PathLike object, not NoneType",
        "A tokenizer is on this machine only in part, and the model hub cannot be reached.",
        _OFFLINE,
        frame="tokenization_",
    ),
    _rule(
        "model-missing",
        r"Cannot load model (?P<path>[^:\n]+): model is not cached",
        "The base model {path} is neither a file here nor can it be fetched from the model hub.",
        "Put the checkpoint into models/ and name it in pretrained_model_name_or_path; paths start at the workspace.",
    ),
    _rule(
        "hub-offline",
        r"LocalEntryNotFoundError|couldn't connect to 'http|offline mode is enabled|OfflineModeIsEnabled"
        r"|outgoing traffic has been disabled|MaxRetryError|NameResolutionError|Name or service not known"
        r"|Temporary failure in name resolution"
        r"|Failed to establish a new connection|ConnectTimeout|ReadTimeout|httpx\.ConnectError|HTTPSConnectionPool"
        r"|Connection error, and we cannot find the requested files",
        "A model or tokenizer is not on this machine, and the model hub cannot be reached: {message}.",
        _OFFLINE,
    ),
    _rule(
        "model-missing",
        r"Cannot load model|model is not found|does not appear to have a file named|is not a local folder"
        r"|Can't load (?:tokenizer|the model|config|weights)|HFValidationError|Repo id must|Error no file named"
        r"|No such file or directory: [\"']?[^\"'\n]*\.(?:safetensors|ckpt|pt|bin)\b",
        "The base model or a part of it is missing: {message}.",
        "Put the checkpoint into models/ and name it in pretrained_model_name_or_path (or vae, network_weights).",
    ),
    _rule(
        "wrong-model",
        r"KeyError: '?(?:time_embed|input_blocks|middle_block|out\.|cond_stage_model|first_stage_model|conditioner\."
        r"|label_emb|model\.diffusion_model|text_model\.|decoder\.|encoder\.|double_blocks|img_in)",
        "The base model is not of the architecture that this script trains, or only a part: it has no {message}.",
        "SDXL needs sdxl_train_network.py, FLUX flux_train_network.py; `kohya-tui models base` reads what a file is.",
    ),
    _rule(
        "weights-mismatch",
        r"Error\(s\) in loading state_dict for (?P<what>\w+):?(?P<details>.*)",
        "The weights do not fit {what}: {details}.",
        "Is it a model of this architecture? A LoRA in network_weights must have the same network_dim and module.",
    ),
    _rule(
        "weights-mismatch",
        r"shapes cannot be multiplied|The size of tensor a \(\d+\) must match|unexpected key in (?:SD|DiffUsers)"
        r"|Unexpected keys in checkpoint|Expected input.* to have \d+ channels|got \d+ channels instead",
        "Parts of the model do not fit each other: {message}.",
        "Base model, VAE, script and network_weights must be of one architecture (SD 1.5, SDXL, …).",
    ),
    _rule("interrupted", r"^KeyboardInterrupt", "The trainer was interrupted from outside (SIGINT).", None),
    _rule(
        "permission",
        r"PermissionError|Permission denied|Operation not permitted|EACCES",
        "The trainer may not read or write a file: {message}.",
        "Check its owner and permissions, and those of its folder.",
    ),
    _rule(
        "output-gone",
        r"Parent directory .* does not exist|No such file or directory.*\.(?:safetensors|ckpt|bin|pkl|tfevents\S*)",
        "The output folder was removed while the training went on: {message}.",
        "What was not saved is lost; keep output/ in its place while a run goes on.",
    ),
    _rule(
        "file",
        r"FileNotFoundError|No such file or directory|NotADirectoryError|IsADirectoryError",
        "A file is missing: {message}.",
        "Check the paths in the config: relative ones start at the workspace.",
    ),
    _rule(
        "input-output",
        r"\[Errno 5\]|Input/output error|Stale file handle|\[Errno 116\]|Transport endpoint is not connected",
        "The disk or network folder failed: {message}.",
        "See `dmesg`; mount it again, then resume from the last state.",
    ),
    _rule(
        "output-closed",
        r"BrokenPipeError",
        "The trainer's output was closed by whoever read it.",
        "Start it with kohya-tui, which writes to a file.",
        weak=True,
    ),
)
