"""Reports for people: one document model, and the leaderboard, studies and comparisons that are written with it."""
