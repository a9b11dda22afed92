"""The node pack: adapts `reflectionflow_core` to ComfyUI, and holds no algorithm.

`extension.py` lists the nodes, `sockets.py` says what travels between them, `loaders.py` makes it,
`steps.py` are the verbs of the method one by one, `search.py` is the loop.
"""
