"""What runs inside a child, beside the user's code: it alone unpickles, and no parent imports it.

It is standard library, cloudpickle and ormsgpack only, because a dependency layer may hold any version of anything.
`zygote` is the template's end, `instance_host` a child's; `channel`, `blobs` and `packing`, which both sides of the
socket use, are a level up.
"""
