"""The node pack: adapts `reflectionflow_core` to ComfyUI and holds no algorithm. No node is here yet."""
