"""OpenVINO's core, one for the whole process.

The CPU part of each core gives the thread that first uses it a stack for signal handlers, and takes
that away when the core goes. With several cores a thread is left with a stack that is gone, and the
next signal, a Ctrl-C, kills the process.
"""

from __future__ import annotations

import rnnkit.openvino_import  # noqa: F401 - before openvino

import openvino  # isort: skip

CORE = openvino.Core()
