"""`lazaretto deploy` and `destroy`: change sets, parameters, progress, spokes.

What the template holds is in `.chalice` and `spoke.json`; how it is built is `build`. Begin with `deploy.py`.
"""
