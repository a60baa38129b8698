"""MLflow's REST protocol, as far as tracking goes: its words and shapes over our runs."""
