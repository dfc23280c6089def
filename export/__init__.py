"""From trained models to the folders under `models/onnx`: run as `python -m export <modality>`. See `--help`."""

import consumer.adapters  # noqa: F401  # before ONNX Runtime is loaded: it sends usage data otherwise
