"""Error categories, metrics, similarity, statistics, reports. No torch at import."""
