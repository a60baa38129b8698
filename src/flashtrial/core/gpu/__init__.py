"""Reading GPUs: the one seam to NVML, the names of what it tells, and which devices a process may use.

Used by the worker, which places children, and by the system monitor of a run. Nothing here talks to CUDA.
"""
