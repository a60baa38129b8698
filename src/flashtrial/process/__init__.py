"""Child processes that run user code: the parent's half here, the half inside them in `runtime`.

The worker and local experiments share it. The parent half never unpickles and never imports what users installed.
"""
