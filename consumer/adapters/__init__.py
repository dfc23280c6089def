"""Real technology behind the ports, one file each.

ONNX Runtime's Linux builds send usage data to Microsoft, and leave an id below `~/.cache`, unless this variable says no when
they are loaded; `disable_telemetry_events` comes too late. Here, because every adapter is imported through here.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
