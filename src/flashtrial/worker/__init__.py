"""The RunPod serverless worker: a request in, an environment, a child that runs it, an answer out."""
