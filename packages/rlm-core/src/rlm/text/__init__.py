"""What is done to text before somebody sees it."""
