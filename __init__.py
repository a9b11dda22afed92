"""ComfyUI's door to the node pack; the nodes themselves are not written yet (see CHANGELOG.md).

ComfyUI imports this file by its path, so nothing may be imported here at the top.
"""
