"""Results for the eye: figures, timelines, reports."""
