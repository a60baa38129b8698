"""From a list of dependencies to an environment: what is missing, how it is built, kept and shared."""
