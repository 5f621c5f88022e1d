"""Other people's ways to spend fewer tokens, on the untouched dense weights: what our methods are held against.

core.peers.merging, core.peers.inattentive, core.peers.dropping   what each does, from its paper's description
core.peers.plans                                                  what it costs, and the setting for a cost
core.peers.trace                                                  one photo under a plan; core.peers.run: a batch
"""
