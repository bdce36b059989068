@echo off
REM Flux character
set MODEL=D:\models\flux1-dev.safetensors
set "CLIP=D:\models\clip_l.safetensors"
set NAME=rinni
call venv\Scripts\activate.bat

accelerate launch --num_cpu_threads_per_process 8 flux_train_network.py ^
  --pretrained_model_name_or_path="%MODEL%" --clip_l="%CLIP%" ^
  --t5xxl="D:\models\t5xxl_fp16.safetensors" --ae="D:\models\ae.safetensors" ^
  --dataset_config=%~dp0dataset_flux.toml ^
  --output_name=%NAME% --network_module=networks.lora_flux --network_dim=16 --network_alpha=16 ^
  --optimizer_args "relative_step=False" "scale_parameter=False" "warmup_init=False" --optimizer_type=adafactor ^
  --guidance_scale=1.0 --timestep_sampling=flux_shift --model_prediction_type=raw ^
  --learning_rate=4e-4 --max_train_epochs=8 --sdpa --fp8_base --mixed_precision=bf16
pause
