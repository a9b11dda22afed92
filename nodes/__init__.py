"""The node pack: adapts `reflectionflow_core` to ComfyUI, no algorithm. No node is here yet."""
