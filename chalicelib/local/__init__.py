"""The local stack: AWS, its events and the app in one process. Never imported by app.py, never packaged."""
