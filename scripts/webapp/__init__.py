"""The app: what stands behind scripts/app.py.

`server` is put together of `guard` (who may ask), `paths` and `files` (what lies below the root), `uploads`, `clips` (what is
there), `forms` (the stages' options) and `work` (their commands as jobs); `pages` are what is seen. The clips' folders are all
of its state.
"""
