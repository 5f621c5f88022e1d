"""Families of backbones: each a module that keeps the contract of `base`, and an entry in `families`.

`base` says what is asked of a family, `families` finds the family of a name, a geometry or a model,
`block` is the one pre-norm block with the one attention that every variant runs, `views` says how its tokens lie for
convolutions. A new family: a module here with its answers, its geometry in `core.costs`, and its line in `families`.
"""
