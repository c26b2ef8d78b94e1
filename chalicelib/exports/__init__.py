"""Findings in other formats: CycloneDX VEX, package URLs.

No I/O: values in, text out. Begin with `cyclonedx_vex.py`.
"""
