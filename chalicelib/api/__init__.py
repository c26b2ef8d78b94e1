"""The REST API: Chalice blueprints over the stored state. Reads only what `bootstrap.house()` offers; decides nothing.

`routes.register(app)` is all `app.py` needs. No event handler lives here: Lambda would not find its middleware.
"""
