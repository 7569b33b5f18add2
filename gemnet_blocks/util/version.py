"""The version of the library, as its installation says."""

from importlib.metadata import PackageNotFoundError, version

try:
    LIBRARY_VERSION = version("gemnet_blocks")
except PackageNotFoundError:  # a checkout on the path that was not installed
    LIBRARY_VERSION = "unknown"
