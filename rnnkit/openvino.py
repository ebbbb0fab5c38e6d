"""OpenVINO without its telemetry, and with one core for the whole process.

OpenVINO reports its import and each conversion over the network through the package
openvino-telemetry, and uses a stub of its own where that is not installed. Here it is made to look
as if it were not. Import OpenVINO through this module only.
"""

from __future__ import annotations

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it then fails

import openvino

__all__ = ["CORE", "openvino"]

# The CPU part of each core gives the thread that first uses it a stack for signal handlers, and
# takes that away when the core goes. With several cores a thread is left with a stack that is gone,
# and the next signal, such as a Ctrl-C, kills the process.
CORE = openvino.Core()
