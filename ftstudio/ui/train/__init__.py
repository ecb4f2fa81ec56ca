"""The run in view: its curves, its samples, the machine, and the keys that steer it."""
