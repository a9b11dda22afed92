"""What ComfyUI finds in this pack: an explicit list of nodes."""

from comfy_api.latest import ComfyExtension, io

from .loaders import LOADERS
from .search import SEARCH
from .steps import STEPS


class ReflectionFlow(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*LOADERS, *STEPS, *SEARCH]
