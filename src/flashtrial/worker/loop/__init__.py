"""RunPod's loop as a careful worker runs it: jobs taken, reported, joined, drained; sizes kept."""
