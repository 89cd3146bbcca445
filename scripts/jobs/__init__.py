"""Jobs: commands of this project run as processes of their own.

How a command is started, waited for and stopped comes in here; what is run, and why, stands where it is asked for.
"""
