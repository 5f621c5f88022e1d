"""The command line, one file per group of commands; each adds its parsers and returns what to print."""
