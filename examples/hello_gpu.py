"""Ask a worker which GPU it has.

flashtrial run examples/hello_gpu.py
"""

import asyncio

from runpod_flash import LiveServerless, remote


@remote(resource_config=LiveServerless(name="hello-gpu", workersMax=1, idleTimeout=5))
def gpu(greeting):
    import platform
    import shutil
    import subprocess

    names = "no GPU"
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or names
    return f"{greeting} from {platform.node()}: {names}"


if __name__ == "__main__":
    print(asyncio.run(gpu("hello")))
