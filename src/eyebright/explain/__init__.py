"""Why a classifier says what it says: maps of what it looked at, filters and features, images that look alike."""
