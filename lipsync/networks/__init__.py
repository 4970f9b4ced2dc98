"""Plain torch networks; none of them knows about files or Lightning."""
