"""What the five pages are put together of: a folder each, and what several of them share.

`shared` knows only the server; `timing`, `pickers` and `scoring` know it, too; each page's own folder knows all of
these, and no other page's.
"""
