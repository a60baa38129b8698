"""Where records go: one module per destination, all behind one small interface."""
