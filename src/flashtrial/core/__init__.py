"""What every other package stands on: errors, time, identities, the environment, files.

Nothing here knows of trials, workers or servers, and nothing here does I/O at import.
"""
