"""Which channels there are: name, setting, template parameter, and the form of their secrets.

No channel is made or spoken to here: that is `adapters/channels`. Begin with `channel.py`.
"""
