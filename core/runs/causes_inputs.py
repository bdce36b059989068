"""What goes wrong with what the trainer is given: config, captions, images, caches, models."""

from __future__ import annotations

from core.runs.cause import Rule, rule

_OFFLINE = (
    "Connect once so that it is kept in the cache, unset HF_HUB_OFFLINE, or point the config at local files"
    " (tokenizer_cache_dir, a checkpoint in models/)."
)

INPUTS: tuple[Rule, ...] = (
    # Numbers
    rule(
        "nan-latents",
        r"NaN detected in (?P<what>latents|text encoder outputs): (?P<path>.+)",
        "Encoding {path} gave NaN (not a number).",
        "Set no_half_vae = true (the SDXL VAE breaks in fp16), or use another VAE; a damaged image does it too.",
    ),
    rule(
        "unscale-fp16",
        r"Attempting to unscale FP16 gradients",
        "Weights in fp16 cannot be trained with mixed_precision fp16.",
        "Remove full_fp16, or the fp16 base of the text encoder; or use mixed_precision bf16.",
    ),
    rule(
        "dtype",
        r"must have the same dtype|to have the same dtype|should be the same|not implemented for 'Half'"
        r"|not implemented for 'BFloat16'|expected scalar type \w+ but found|Unsupported dtype|have different dtypes",
        "Two parts work with different number formats: {message}.",
        "Make mixed_precision, full_fp16/full_bf16 and no_half_vae agree; fp16 does not work on a CPU.",
    ),
    # The config
    rule(
        "toml",
        r"TomlDecodeError|TOMLDecodeError",
        "A config file is not valid TOML{file}: {message}.",
        "Correct that line; strings need quotes at both ends. `kohya-tui check --config NAME` names it too.",
    ),
    rule(
        "json",
        r"JSONDecodeError",
        "A JSON file cannot be read{file}: {message}.",
        "Correct it, or write a dataset config as TOML; a tokenizer's or a model's own file: fetch that anew.",
    ),
    rule(
        "dataset-config",
        r"MultipleInvalid: (?P<what>.*?)(?: for dictionary value)? @ data(?P<path>(?:\[[^\]]+\])+)",
        "The dataset config has a key or value that sd-scripts refuses: {what} at {place}.",
        "sd-scripts is strict there: exact names, whole numbers without a point, texts in quotes.",
    ),
    rule(
        "dataset-config",
        r"MultipleInvalid|extra keys not allowed|datasets should not be an empty iterable",
        "dataset.toml has a key or value that sd-scripts refuses: {message}.",
        "It needs [[datasets]] with [[datasets.subsets]]; the path in the message names the place.",
    ),
    rule(
        "config-missing",
        r"(?:file not found|not supported config file format|no metadata)[^:]*: (?P<path>.+)",
        "The config names a file that is not there or not of a known kind: {path}.",
        "Relative paths start at the workspace; .toml and .json are read.",
    ),
    rule(
        "workers",
        r"persistent_workers option needs num_workers > 0",
        "persistent_data_loader_workers needs max_data_loader_n_workers above 0.",
        "Set one worker or more, or persistent_data_loader_workers = false.",
    ),
    rule(
        "precision",
        r"Unknown mixed_precision mode",
        "mixed_precision has an unknown value: {message}.",
        'Use "no", "fp16" or "bf16".',
    ),
    rule(
        "precision",
        r"(?:full_(?:fp|bf)16|fp8_base) requires mixed precision",
        "mixed_precision does not go with another option: {message}.",
        "Set it as the message says, or remove that option.",
    ),
    rule(
        "network-args",
        r"not enough values to unpack \(expected 2, got 1\)|malformed node or string",
        "network_args or optimizer_args is not a list of `key=value` texts: {message}.",
        'Write it like network_args = ["conv_dim=4", "conv_alpha=1"]; values are Python: betas=(0.9,0.99).',
    ),
    rule(
        "optimizer",
        r"Unknown optimizer type|module 'torch\.optim' has no attribute '(?P<name>\w+)'|not a valid optimizer",
        "optimizer_type is not known: {message}.",
        "Like AdamW, AdamW8bit, Adafactor, Prodigy, Lion; others as module.Class.",
    ),
    rule(
        "optimizer-args",
        r"(?P<what>\w+)\.__init__\(\) got an unexpected keyword argument '(?P<key>\w+)'",
        "{what} does not know the argument `{key}` of optimizer_args (or network_args).",
        "Remove it, or choose the optimizer that it belongs to.",
    ),
    rule(
        "scheduler",
        r"'(?P<name>[^']*)' is not a valid SchedulerType|requires `num_warmup_steps`|requires `num_training_steps`"
        r"|does not require `num_warmup_steps`",
        "lr_scheduler has a value that cannot be used: {message}.",
        "constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial; with_warmup needs steps.",
    ),
    rule(
        "nothing-to-train",
        r"optimizer got an empty parameter list|no trainable parameters|element 0 of tensors does not require grad",
        "Nothing is left to train: the config turns everything off.",
        "Look at network_train_unet_only, network_train_text_encoder_only, unet_lr and text_encoder_lr (0?).",
    ),
    rule(
        "number-as-text",
        r"not supported between instances of '(?:float|int)' and 'str'|must be real number, not str"
        r"|could not convert string to (?:float|int)|invalid literal for int\(\)|found element of type str"
        r"|unsupported operand type\(s\) for [^:]+: '(?:float|int|str)' and '(?:str|float|int)'",
        "A number in the config is written as text: {message}.",
        "Write it without quotes: learning_rate = 1e-4",
    ),
    rule(
        "resolution",
        r"resolution is required|min_bucket_reso must be|max_bucket_reso must be|object has no attribute 'split'",
        "The resolution in the config cannot be used: {message}.",
        'In dataset.toml it is a number or [width, height], in train.toml a text ("512,768"); one file for all is not'
        " read by sd-scripts.",
    ),
    rule(
        "image-too-large",
        r"image too large, but cropping and bucketing are disabled",
        "An image is larger than the resolution, and nothing may shrink it: {message}.",
        "Set enable_bucket = true in dataset.toml.",
    ),
    rule(
        "resumed-finished",
        r"max_train_steps should be greater than initial step",
        "This state is at the end of its training already: nothing is left to do.",
        "Raise max_train_epochs, or start a new run with network_weights.",
    ),
    rule(
        "state-missing",
        r"Tried to find (?P<path>.+?) but folder does not exist|random_states_0\.pkl|Could not load random states"
        r"|optimizer\.bin|doesn't match the size of optimizer's group|different number of parameter groups",
        "The state to resume from is missing, incomplete or of another config: {message}.",
        "Resume from another `…-state` folder, with the network and optimizer of that run.",
    ),
    rule(
        "sample-prompts",
        r"stat: path should be string|local variable 'prompts'|referenced before assignment",
        "Samples are asked for, but there is no prompt file (.txt, .toml or .json).",
        "Write prompts.txt, or remove sample_every_n_epochs and sample_every_n_steps.",
    ),
    # Captions, images, caches
    rule(
        "encoding",
        r"UnicodeEncodeError",
        "The trainer cannot print its Japanese messages in this encoding.",
        "Set PYTHONUTF8=1 (runs started by kohya-tui have it).",
    ),
    rule(
        "caption-encoding",
        r"UnicodeDecodeError",
        "A caption or config file is not UTF-8{file}: {message}.",
        "Save it as UTF-8 (iconv -f shift-jis -t utf-8); `kohya-tui check` lists them all.",
    ),
    rule(
        "caption-empty",
        r"caption file is empty[^:]*: (?P<path>.+)",
        "A caption file is empty: {path}.",
        "Write tags into it, or delete it.",
    ),
    rule(
        "image-too-many-pixels",
        r"DecompressionBombError",
        "An image has too many pixels to be opened{file}: {message}.",
        "Shrink it: kohya-tui resize DATASET --max-side 4096",
    ),
    rule(
        "option-value",
        r"^ZeroDivisionError",
        "batch_size is 0.",
        "Set it to 1 or more in dataset.toml.",
        frame="in make_buckets",
    ),
    rule(
        "sizes-differ",
        r"stack expects each tensor to be equal size|resize storage that is not resizable",
        "Images or caches of one batch differ in size: {message}.",
        "Delete the .npz files beside the images; set enable_bucket = true; masks must be as large as their images.",
    ),
    rule(
        "image",
        r"UnidentifiedImageError|cannot identify image file|ZeroDivisionError|Truncated File Read"
        r"|image file is truncated|broken data stream|OpenCV\(.*ssize\.empty|PngImagePlugin\.MAX_TEXT|broken PNG"
        r"|unrecognized data stream|SyntaxError: not a \w+ file"
        r"|bad EXIF|decoder error|cannot write mode|Corrupt (?:JPEG|EXIF)|premature end",
        "An image cannot be read{file}: {message}.",
        "Replace or remove it; `kohya-tui check` finds all that are broken.",
    ),
    rule(
        "cache",
        r"BadZipFile|No data left in file|is not a file in the archive|contains pickled \(object\) data"
        r"|Cannot load file containing pickled|cannot reshape array|Bad magic number for|latents.* not found in .*npz"
        r"|npz is old format|Error -\d+ while decompressing|Bad CRC-32|EOF: reading array data",
        "A latents cache (.npz) is broken or of another kind{file}: {message}.",
        "Delete the .npz files beside the images; they are made anew.",
    ),
    # Models
    rule(
        "model-broken",
        r"HeaderTooLarge|HeaderTooSmall|MetadataIncompleteBuffer|InvalidHeader\w*|InvalidTensorView|InvalidOffset"
        r"|Error while deserializing|UnpicklingError: (?:invalid load key|pickle data was truncated)"
        r"|PytorchStreamReader failed|unexpected EOF|not a ZIP archive|Consistency check failed|Ran out of input",
        "A model file is damaged or cut off{file}: {message}.",
        "Fetch it again and compare its size; a file of a few hundred bytes is a Git LFS pointer or an error page.",
    ),
    rule(
        "model-unsafe",
        r"Weights only load failed|serious vulnerability issue in `torch\.load`",
        "torch refuses this old checkpoint format (.ckpt, .pt), which can hold programs.",
        "Use the .safetensors of that model.",
    ),
    rule(
        "gated",
        r"GatedRepoError|Cannot access gated repo|Access to model .* is restricted",
        "The model hub lets only registered users have this model: {message}.",
        "Ask for access on its page, then log in: huggingface-cli login (or HF_TOKEN).",
    ),
    rule(
        "hub-busy",
        r"HfHubHTTPError: (?:429|5\d\d)|\b(?:429 Client Error|50\d Server Error)",
        "The model hub did not answer as it should: {message}.",
        "Start again in a while; what was fetched stays in the cache. With 429 log in: huggingface-cli login",
    ),
    rule(
        "hub-certificate",
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "The model hub's certificate is not accepted: a proxy stands in between, or the clock is wrong.",
        "Name the proxy's certificate in REQUESTS_CA_BUNDLE and SSL_CERT_FILE, or put the files here by hand.",
    ),
    rule(
        "hub-unknown",
        r"RepositoryNotFoundError|Repository Not Found|RevisionNotFoundError|EntryNotFoundError: 404"
        r"|Invalid credentials",
        "The model hub does not know this model, or it is private: {message}.",
        "Correct the name in the config; a local file needs its path, seen from the workspace.",
    ),
    rule(
        "hub-offline",
        r"TypeError: expected str, bytes or os\.PathLike object, not NoneType",
        "A tokenizer is on this machine only in part, and the model hub cannot be reached.",
        _OFFLINE,
        frame="tokenization_",
    ),
    rule(
        "model-missing",
        r"Cannot load model (?P<path>[^:\n]+): model is not cached",
        "The base model {path} is neither a file here nor can it be fetched from the model hub.",
        "Put the checkpoint into models/ and name it in pretrained_model_name_or_path; paths start at the workspace.",
    ),
    rule(
        "hub-offline",
        r"LocalEntryNotFoundError|FileMetadataError"
        r"|couldn't connect to 'http|offline mode is enabled|OfflineModeIsEnabled"
        r"|outgoing traffic has been disabled|MaxRetryError|NameResolutionError|Name or service not known"
        r"|Temporary failure in name resolution"
        r"|Failed to establish a new connection|ConnectTimeout|ReadTimeout|httpx\.ConnectError|HTTPSConnectionPool"
        r"|Connection error, and we cannot find the requested files",
        "A model or tokenizer is not on this machine, and the model hub cannot be reached: {message}.",
        _OFFLINE,
    ),
    rule(
        "model-missing",
        r"Cannot load model|model is not found|does not appear to have a file named|is not a local folder"
        r"|Can't load (?:tokenizer|the model|config|weights)|HFValidationError|Repo id must|Error no file named"
        r"|No such file or directory: [\"']?[^\"'\n]*\.(?:safetensors|ckpt|pt|bin)\b",
        "The base model or a part of it is missing: {message}.",
        "Put the checkpoint into models/ and name it in pretrained_model_name_or_path (or vae, network_weights).",
    ),
    rule(
        "wrong-vae",
        r"KeyError: '?(?:encoder|decoder|quant_conv|post_quant_conv)\.",
        "The VAE is none, or of another architecture: it has no {message}.",
        "Correct vae, or remove it: most base models bring their own. A base model without one needs it.",
    ),
    rule(
        "wrong-model",
        r"max\(\) arg is an empty sequence",
        "The base model is no FLUX model.",
        "Choose a FLUX checkpoint, or the script of this model; `kohya-tui models base` reads what a file is.",
        frame="flux_utils",
    ),
    rule(
        "network-module",
        r"^(?:TypeError|AttributeError): .*(?:CLIPText|UNet2D|T5Enc|Gemma|Qwen|Flux|MMDiT)\w*",
        "network_module is made for another architecture than this script trains: {message}.",
        "SD 1.5 and SDXL: networks.lora; FLUX: networks.lora_flux; SD3: networks.lora_sd3.",
        frame="/networks/",
    ),
    rule(
        "wrong-model",
        r"KeyError: '?(?:time_embed|input_blocks|middle_block|out\.|cond_stage_model|first_stage_model|conditioner\."
        r"|label_emb|model\.diffusion_model|text_model\.|double_blocks|img_in)",
        "The base model is not of the architecture that this script trains, or only a part: it has no {message}.",
        "SDXL needs sdxl_train_network.py, FLUX flux_train_network.py; `kohya-tui models base` reads what a file is.",
    ),
    rule(
        "weights-mismatch",
        r"Error\(s\) in loading state_dict for (?P<what>\w+):?(?P<details>.*)",
        "The weights do not fit {what}: {details}.",
        "Is it a model of this architecture? A LoRA in network_weights must have the same network_dim and module.",
    ),
    rule(
        "weights-mismatch",
        r"shapes cannot be multiplied|The size of tensor a \(\d+\) must match|unexpected key in (?:SD|DiffUsers)"
        r"|Unexpected keys in checkpoint|Expected input.* to have \d+ channels|got \d+ channels instead",
        "Parts of the model do not fit each other: {message}.",
        "Base model, VAE, script and network_weights must be of one architecture (SD 1.5, SDXL, …).",
    ),
    rule(
        "login",
        r"api_key not configured|wandb\.errors",
        "wandb is asked for, and nobody is logged in there: {message}.",
        'Set wandb_api_key, run `wandb login` in the trainer\'s Python, or use log_with = "tensorboard".',
    ),
    rule(
        "name-too-long",
        r"File name too long",
        "A file's name is too long: {message}.",
        "Shorten output_name or the names of the folders above it.",
    ),
    rule(
        "checkout",
        r"'Namespace' object has no attribute",
        "The files of sd-scripts are of different versions: {message}.",
        "Look at it with git status, and update all of it: kohya-tui doctor shows which commit it is.",
    ),
    # The wide ones last
    rule(
        "optimizer-args",
        r"^(?:TypeError|ValueError): ",
        "The optimizer does not take a value of optimizer_args: {message}.",
        "Values are Python, two of them in brackets: betas=(0.9,0.99), weight_decay=0.01.",
        frame="torch/optim/",
    ),
    rule(
        "option-value",
        r"^IndexError: tuple index out of range",
        "clip_skip is larger than the text encoder has layers.",
        "2 is usual for anime models on SD 1.5; leave it out for SDXL.",
        frame="/strategy_sd",
    ),
    rule(
        "option-value",
        r"^(?:NotImplementedError|ValueError|AssertionError): (?:(?:Unknown|Unsupported|Invalid) (?!(?:dtype|escape)\b)"
        r"|[\w. ]+ (?:has to|must|should) be (?:between|in|one of|positive|greater|less)\b)",
        "The config has a value that does not work: {message}.",
        "Correct it; `kohya-tui config options --search WORD` tells what an option takes.",
    ),
)
