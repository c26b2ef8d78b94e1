"""Findings in the forms of other tools. Everything here reads domain values; nothing reads AWS or writes anywhere."""
