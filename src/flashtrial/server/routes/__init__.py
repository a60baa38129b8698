"""HTTP routes, thin: parse, ask the repository or the views, answer."""
