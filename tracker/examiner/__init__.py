"""The examiner: decides what a file is, finds what it would give away, and makes pictures of it.

It runs as a child process of its own, without database, keys or settings, and confined (`sandbox`), because the parsers
here read files that an adversary may have made. `tracker.media` starts it; nothing else may call into it, except for
the plain words of `traces` and `refusals`.
"""
