"""Other people's ways to spend fewer tokens, on the untouched dense weights: what our methods are held against.

merging, inattentive, dropping   what each does, from its paper's description
plans                            what it costs, and the setting for a cost
trace, run                       one photo under a plan, and a batch
"""
