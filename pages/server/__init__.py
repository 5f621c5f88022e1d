"""What all visitors of one server share: the only room of the pages that caches, locks and works beside them.

`images`, `models`, `keeping`, `budgets`, `records`: what there is. `inference`, `timings`, `drawings`: what is made of
it, once. `locks`, `line`, `jobs`, `queues`, `giving_way`: who computes when. `forget`: what a changed file takes away.
`hosted`: what a server that strangers use does not do.
"""
