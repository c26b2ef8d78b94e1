"""Where images run: ECS, EKS, Lambda, EventBridge schedules, and who may pull across accounts.

An answer that could not be had is reported as unchecked; nothing here turns it into NO. Begin with `runtime.py`, which
asks all places about one image.
"""
