"""The app: what stands behind scripts/app.py.

`server` is put together of `guard` (who may ask), `paths` and `files` (what lies below the root), `uploads`, `clips` (what there
is), `forms` (the stages' own options) and `scripts.jobs`; `pages` hold what is seen. State is the clips' folders and nothing else.
"""
