"""What a user may choose, where it is chosen, and which server is meant. Standard library only."""
