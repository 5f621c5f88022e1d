"""Other people's checkpoint files, read with their semantics.

`pickles` opens them without running code, `plain` reads DeiT weights, `single_path` what He et al. released
(arXiv:2111.11802), `fetch` downloads by name, `files` tells them apart.
"""
