"""Quality of a fit: measured frame by frame, judged in words, drawn, and written beside it.

What every kind of fit ends with comes in here.
"""
