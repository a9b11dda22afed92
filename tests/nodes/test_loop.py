"""ReflectionLoop in a real ComfyUI."""
import json
from comfy_graphs import loop_graph
def test_smoke(comfy):
    run = comfy.succeed(loop_graph())
    print(run.outputs, run.entry["meta"]); print(run.text("report")); print(comfy.state())
    print(len(run.images("images")))
    run = comfy.succeed(loop_graph()); print(run.cached, list(run.outputs))
    with comfy.listening("tests") as heard:
       i = comfy.queue(loop_graph(depth=4))
       heard.until_over(i)
       print(heard.executed_nodes())
       print(heard.of("executed"))
    print(comfy.log[-3000:])
