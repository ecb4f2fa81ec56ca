"""One file a task: columns, rows to tokens, what it predicts and how that is scored."""
