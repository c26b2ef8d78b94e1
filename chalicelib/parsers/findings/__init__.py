"""Findings, counts and coverage, of basic and enhanced scans.

Merging with what is stored is `domain/assessment/merge.py`. Begin with `rows.py` (Inspector) and `basic_scan.py` (ECR).
"""
