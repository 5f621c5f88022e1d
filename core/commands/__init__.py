"""The command line: `table` names the commands, `parsers` and `flags` say what they take, and import little.

The work of a group of commands is one file, imported when one of them is asked for; it returns what to print.
"""
