"""The version of the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("show-and-spell")
except PackageNotFoundError:  # a source tree that is not installed
    VERSION = "unknown"
