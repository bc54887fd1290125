"""Many hands: tasks that processes share out, and what they have found written down. Knows not what the work is."""
