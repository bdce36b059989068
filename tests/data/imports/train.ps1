# SD1.5 style
$model = "./models/anything-v3.safetensors" # base
$data = ".\train\style"
$dim = 32
$use_v2 = 0
$clip_skip = 2
$ext_args = [System.Collections.ArrayList]::new()
$Env:HF_HOME = "huggingface"
if ($use_v2) {
  [void]$ext_args.Add("--v2")
} else {
  [void]$ext_args.Add("--clip_skip=$clip_skip")
}
if ($dim -ge 64) { [void]$ext_args.Add("--lowram") }
.\venv\Scripts\activate

accelerate launch --num_cpu_threads_per_process=8 "./sd-scripts/train_network.py" `
  --enable_bucket --resolution="512,768" `
  --pretrained_model_name_or_path=$model --train_data_dir=$data `
  --network_module="networks.lora" --network_dim=$dim --network_alpha=16 `
  --learning_rate=1e-4 --max_train_epochs=10 --caption_extension=".txt" `
  --train_batch_size=2 --mixed_precision="fp16" --shuffle_caption $ext_args
Write-Output "Train finished"
