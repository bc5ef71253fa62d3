"""What starts without a person: schedules and sensors."""
