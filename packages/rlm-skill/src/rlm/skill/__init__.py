"""What a skill needs."""
