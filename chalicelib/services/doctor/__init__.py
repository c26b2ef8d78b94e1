"""Reading, redriving and dropping dead letters (`lazaretto dlq`). Begin with `redrive_dead_letters.py`.

The checks of `lazaretto doctor` are in `cli/doctor`.
"""
