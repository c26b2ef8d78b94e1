"""The policy: its YAML shape, conditions, rules, waivers, and the decision they make about an image.

Reading files and storing versions is `adapters/stores`. Begin with `decision.py`; each condition is declared in
`condition.py`.
"""
