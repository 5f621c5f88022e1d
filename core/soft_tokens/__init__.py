"""Soft token pruning: selectors decide per image which patches stay; the others are folded into package tokens.

Kong et al. 2022, arXiv:2112.13890. `selector` scores, `decide` turns scores into decisions, `package` folds,
`gathered` really removes tokens (inference), `masked` hides them (training; `policy` is a block that does), `model`
puts it together, `method` is what the house asks of it.
"""
