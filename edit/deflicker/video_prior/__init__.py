"""Deep Video Prior at work: its network, what that is trained on and judged by, its losses, and its training.

The way of deflickering that is made of them is `edit.deflicker.prior`.
"""
