"""Files and data that users log beside numbers: what they are, how they are kept, how they are encoded.

Runs inside user processes: standard library only; numpy, torch, PIL and matplotlib are used where a value brings them.
"""
