"""What happens? A backup made, restored, proved, listed or chosen, and the result that tells of it."""
