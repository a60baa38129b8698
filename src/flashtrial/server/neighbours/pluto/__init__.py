"""The Pluto wire contract: its words and shapes over our runs."""
