"""From trained models to the folders under `models/onnx`: run as `python -m export <modality>`. See `--help`."""
