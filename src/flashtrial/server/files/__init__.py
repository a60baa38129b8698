"""What runs leave beside numbers: the bytes of files by content, who logged which, and their safe serving."""
