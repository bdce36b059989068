#!/usr/bin/env bash
set -euo pipefail
# SDXL character, my machine

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
NAME=rinni            # also the trigger
MODEL="/home/joe/models/Illustrious-XL-v2.0.safetensors"
DIM=${DIM:-32}
USE_8BIT=1
REG=""
EXTRA=(
  --xformers          # or --sdpa
  --gradient_checkpointing
)
if [[ $USE_8BIT == 1 ]]; then
  EXTRA+=(--optimizer_type AdamW8bit)
else
  EXTRA+=(--optimizer_type AdamW)
fi
[ -n "$REG" ] && EXTRA+=(--reg_data_dir "$REG")
if [ -f "$HERE/venv/bin/activate" ]; then source "$HERE/venv/bin/activate"; fi

cat > dataset.toml <<TOML
[general]
caption_extension = ".txt"
shuffle_caption = true
keep_tokens = 1

[[datasets]]
resolution = 1024
batch_size = 2
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "train_data/$NAME/10_$NAME"
  num_repeats = 10
TOML

CUDA_VISIBLE_DEVICES=1 accelerate launch --num_cpu_threads_per_process 1 --mixed_precision=bf16 \
  sd-scripts/sdxl_train_network.py \
  --pretrained_model_name_or_path="$MODEL" \
  --dataset_config=dataset.toml \
  --output_dir="$HERE/output" --output_name="${NAME}_v1" \
  --network_module=networks.lora --network_d=$DIM --network_alpha $((DIM / 2)) \
  --network_args "conv_dim=8" "conv_alpha=4" \
  --learning_rate 1e-4 --unet_lr=1e-4 --text_encoder_lr 5e-5 5e-5 \
  --lr_scheduler cosine --lr_warmup_steps 0.05 \
  --max_train_epochs=10 --save_every_n_epochs=1 \
  --mixed_precision bf16 --save_precision bf16 --no_half_vae --seed 42 \
  --cache_latents --old_option_of_a_fork 3 \
  "${EXTRA[@]}" 2>&1 | tee "train_$NAME.log"
