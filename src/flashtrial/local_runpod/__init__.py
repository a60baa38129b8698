"""RunPod on one machine: control plane, queue per endpoint, and workers that run the real SDK loop."""
