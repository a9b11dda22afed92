"""What ComfyUI finds in this pack: an explicit list of nodes."""

from comfy_api.latest import ComfyExtension, io

from .editors import EDITORS
from .loaders import LOADERS
from .native import NATIVE
from .options import SearchOptions
from .search import SEARCH
from .staging import STAGING
from .steps import STEPS
from .verifiers import VERIFIER_NODES
from .vlm import VLM


class ReflectionFlow(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        known = (LOADERS, VLM, VERIFIER_NODES, NATIVE, EDITORS, STEPS, SEARCH, STAGING)
        return [*(node for some in known for node in some), SearchOptions]
