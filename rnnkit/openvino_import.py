"""Keeps OpenVINO from sending anything over the network. Import this module before openvino.

OpenVINO reports its import and each conversion through the package openvino-telemetry, and uses a
stub of its own where that is not installed. Here it is made to look so.
"""

from __future__ import annotations

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it then fails
