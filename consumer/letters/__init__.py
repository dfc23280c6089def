"""What could not be read: dead letters, listed and sent again."""
