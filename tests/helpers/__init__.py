"""What several test modules share: a journal with rows in it, services that misbehave, drivers."""
