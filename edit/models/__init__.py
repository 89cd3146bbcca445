"""Models of others: what kind each is, whether they fit each other, and how they are loaded into one pipeline of diffusers.

What a file, a folder or a repository of weights can get wrong is told here, in one line, before anything is made with it.
"""
