"""Assets that say how good policies are. How to measure is in the room evaluation."""
