"""Child processes that run user code, and the runtime inside them.

The worker and local experiments share it. The parent half never unpickles and never imports what users installed; the
child half (`instance_host`, `capture`, `user_code`, `serialization_utils`) is standard library, cloudpickle and
ormsgpack only, because a dependency layer may hold any version of anything.
"""
