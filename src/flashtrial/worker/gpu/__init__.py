"""GPUs of a worker: reading them, deciding who gets which, telling a poisoned process from a broken device.

Nothing here talks to CUDA, and nothing here has been verified on hardware yet (docs/decisions/007-gpu.md).
"""
