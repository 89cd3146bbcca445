"""System: the command line, interrupts, devices, threads, and what a stage costs on this machine.

What knows the machine but no clip comes in here.
"""
