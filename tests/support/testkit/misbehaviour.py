"""What user code may do to its process: sources for tests and soaks, each with what must come of it."""

# name, source, kind of the failure, words in its message
ENDINGS: list[tuple[str, str, str, str]] = [
    ("sys.exit in the call", "import sys\ndef f():\n    sys.exit(2)\n", "user_code", "SystemExit: 2"),
    ("sys.exit on import", "import sys\nsys.exit(2)\ndef f(): pass\n", "user_code", "SystemExit: 2"),
    ("os._exit(0)", "import os\ndef f():\n    os._exit(0)\n", "user_code", "exited with code 0"),
    ("os._exit(1) on import", "import os\nos._exit(1)\ndef f(): pass\n", "user_code", "exited with code 1"),
    ("segfault", "import ctypes\ndef f():\n    ctypes.string_at(0)\n", "user_code", "SIGSEGV"),
    ("abort", "import os\ndef f():\n    os.abort()\n", "user_code", "SIGABRT"),
    ("kill", "import os, signal\ndef f():\n    os.kill(os.getpid(), signal.SIGKILL)\n", "worker_lost", "SIGKILL"),
    ("deep recursion", "def f():\n    return f()\n", "user_code", "RecursionError"),
    ("keyboard interrupt", "def f():\n    raise KeyboardInterrupt\n", "user_code", "KeyboardInterrupt"),
    (
        "exception group",
        "def f():\n    raise ExceptionGroup('many', [ValueError('a')])\n",
        "user_code",
        "ValueError: a",
    ),
    (
        "an exception that cannot be shown",
        "class E(Exception):\n    def __str__(self):\n        raise RuntimeError\ndef f():\n    raise E\n",
        "user_code",
        "E",
    ),
    ("a result that is no JSON", "def f():\n    return {1, 2}\n", "result", "set that is not JSON"),
    ("a closed standard output", "import os\ndef f():\n    os.close(1)\n    raise ValueError('v')\n", "user_code", "v"),
    ("every descriptor closed", "import os\ndef f():\n    os.closerange(0, 4096)\n", "user_code", "exited with code 1"),
    (
        "replaced streams and modules",
        "import sys, json\ndef f():\n    sys.stdout = sys.stderr = json.dumps = None\n    raise ValueError('v')\n",
        "user_code",
        "ValueError: v",
    ),
]

# name, source, whether the call succeeds
ODD: list[tuple[str, str, bool]] = [
    ("prints without an end of line, in any bytes", "import os\ndef f():\n    os.write(1, b'a\\x00\\xff\\rb')\n", True),
    ("closes its streams", "import os\ndef f():\n    [os.close(n) for n in (0, 1, 2)]\n", True),
    (
        "replaces modules",
        "import logging, signal, json, pickle\ndef f():\n    pickle.dumps = json.loads = None\n",
        True,
    ),
    (
        "masks every signal",
        "import signal\ndef f():\n    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n",
        True,
    ),
    ("registers an exit hook that hangs", "import atexit, time\ndef f():\n    atexit.register(time.sleep, 99)\n", True),
    (
        "leaves threads that are no daemons",
        "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(99,)).start()\n",
        True,
    ),
    ("writes 50 MB in a line", "import os\ndef f():\n    os.write(1, b'x' * 100)\n    print('y' * 50_000_000)\n", True),
    ("raises 5 MB of message", "def f():\n    raise ValueError('x' * 5_000_000)\n", False),
    (
        "raises a cycle of causes",
        "def f():\n    a, b = ValueError('a'), ValueError('b')\n    a.__cause__, b.__cause__ = b, a\n    raise a\n",
        False,
    ),
    (
        "raises what cannot be repeated",
        "class E(Exception):\n    __repr__ = __str__ = None\ndef f():\n    raise E(1)\n",
        False,
    ),
    ("blocks its own event loop", "import time\nasync def f():\n    time.sleep(0.01)\n", True),
    ("returns a generator's list", "def f():\n    yield from range(3)\n", True),
    ("spawns a tree of processes", "import os\ndef f():\n    os.system('sleep 99 & sleep 99 &')\n", True),
    ("puts a pipe over high descriptors", "import os\ndef f():\n    [os.dup2(1, n) for n in range(3, 64)]\n", False),
    ("runs a module named like ours", "import sys\ndef f():\n    sys.modules['flashtrial'] = None\n", True),
]
