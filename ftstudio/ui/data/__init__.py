"""Dataset, rows, statistics, and the tokens the model sees."""
