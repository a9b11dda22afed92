"""ComfyUI's door to the node pack.

ComfyUI imports this file by its path and under a name of its own, and pytest may import it as no
package at all: so nothing is imported here at the top.
"""

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint():
    """The extension; ComfyUI calls this once, when it starts."""
    import logging

    try:
        from .nodes.extension import ReflectionFlow
    except Exception:
        # ComfyUI itself would log one line without the traceback.
        logging.exception("ReflectionFlow could not be loaded; its nodes will be missing.")
        raise
    return ReflectionFlow()
