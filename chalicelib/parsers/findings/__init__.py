"""Findings, counts and coverage, of basic and enhanced scans.

Merging with what is stored is `domain/assessment/merge.py`. Begin with `enhanced_scan.py` and `basic_scan.py`.
"""
