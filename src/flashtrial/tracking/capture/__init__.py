"""What is captured beside a run without the user's doing: figures of the machine, facts once, and the console.

Each is a `RunPart` (``docs/decisions/011-run-parts.md``): `system_parts` makes the system monitor, `companion_parts`
the process that keeps the console and collects facts. Runs in user processes: standard library and ormsgpack; psutil
and pynvml are imported when the monitor first needs them, and their absence costs their figures only.
"""
