"""PNG and JPEG files as bytes: what they say of their pixels, where they end, which way is up, what their colours mean.

What is asked of a file before its pixels are decoded, and done to decoded ones because the file says so, comes in here;
`atlas.storage.pictures` and `atlas.storage.images` are what others use.
"""
