"""Who may do what on the server, how often, and how slowly."""
