"""RunPod's entry point; everything is in `flashtrial.worker.entrypoint`."""

from flashtrial.worker.entrypoint import handler, main

__all__ = ["handler"]

if __name__ == "__main__":
    main()
