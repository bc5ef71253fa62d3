"""The outside world behind the Protocols of `assets/lake/ports.py`: storage, launcher, tracker."""
