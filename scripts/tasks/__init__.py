"""Supervised tasks on real data, one file each; `scripts/tasks/task.py` says what a task is."""
