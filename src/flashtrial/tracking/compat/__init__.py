"""Other libraries' objects, tracked: each module is loaded only where its library is in use."""
