"""Giving, changing and ending waivers, and deciding the images they touch anew.

Begin with `manage_waivers.py`.
"""
