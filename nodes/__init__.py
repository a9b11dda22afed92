"""The node pack: adapts `reflectionflow_core` to ComfyUI, and holds no algorithm.

`extension.py` lists the nodes; the other files here hold one family of nodes each. `shared` is what
several families need, `comfy` what runs on the models that ComfyUI has loaded.
"""
