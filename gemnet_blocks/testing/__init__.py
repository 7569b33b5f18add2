"""For tests of this library and of layers built on it: slow definitions to compare fast code with."""
