"""What several test modules share: real servers, and a way to call one plugin's hooks."""
