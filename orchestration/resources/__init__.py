"""The outside world behind the Protocols of `assets/ports.py`: storage, launcher, tracker."""
