"""What ComfyUI finds in this pack: an explicit list of nodes."""

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from .critic import Critic
from .editors import EDITORS
from .fixing import FixPicture
from .judge import Judge
from .judge_check import JUDGES
from .judge_error import JudgeError
from .loaders import LOADERS
from .native import NATIVE
from .options import SearchOptions
from .painter import PAINTERS
from .pausing import PAUSING
from .prompt_batch import PromptBatch
from .replacing import register_replacements
from .routes import add_routes
from .search import SEARCH
from .shared.wires import checks_its_wires
from .staging import STAGING
from .steps import STEPS
from .verifiers import VERIFIER_NODES
from .vision import VisionModelNode
from .vlm import VLM

FAMILIES = (
    *(LOADERS, VLM, JUDGES, VERIFIER_NODES, NATIVE, PAINTERS, EDITORS),
    *(STEPS, SEARCH, PAUSING, STAGING),
    [SearchOptions, Critic, Judge, JudgeError, VisionModelNode, FixPicture, PromptBatch],
)
NODES = [checks_its_wires(node) for family in FAMILIES for node in family]


class ReflectionFlow(ComfyExtension):
    def __init__(self) -> None:
        if server := getattr(PromptServer, "instance", None):  # programs read schemas without one
            add_routes(server)

    async def on_load(self) -> None:  # newer ComfyUIs call it
        await register_replacements()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*NODES]
