"""The installed version of the library."""

from importlib.metadata import PackageNotFoundError, version

try:
    LIBRARY_VERSION = version("gemnet_blocks")
except PackageNotFoundError:  # a checkout that is not installed
    LIBRARY_VERSION = "unknown"
