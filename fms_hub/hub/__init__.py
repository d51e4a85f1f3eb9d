"""What is kept and shared: logs of searches, and the door to the Hugging Face Hub."""
