"""What the author of a lab has: a skeleton to begin with, the house rules, and the proof that no check can be fooled."""
