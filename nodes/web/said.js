// What a run has said on our nodes stays there: newer frontends take texts away when it is over.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const WIDGET = "$$node-text-preview";
const OVER = ["execution_success", "execution_error", "execution_interrupted"];
const said = new Map(); // from a node to its last message

// The node of an execution id, such as "7", or "3:7" inside subgraph node 3.
function nodeOf(id) {
  const path = String(id).split(":");
  const last = path.pop();
  const graph = path.reduce((outer, part) => outer?.getNodeById(part)?.subgraph, app.graph);
  return graph?.getNodeById(last);
}

function keep({ detail }) {
  const node = nodeOf(detail.nodeId);
  if (node?.comfyClass?.startsWith("ReflectionFlow_")) said.set(node, detail);
}

function sayAgain() {
  for (const [node, { nodeId, text }] of said) {
    if (!node.graph) said.delete(node);
    else if (node.graph === app.canvas.graph && !node.widgets?.some((w) => w.name === WIDGET))
      api.dispatchCustomEvent("progress_text", { nodeId, text });
  }
}

app.registerExtension({
  name: "reflectionflow.said",
  setup() {
    api.addEventListener("progress_text", keep);
    // After the frontend's own listeners.
    for (const kind of OVER) api.addEventListener(kind, () => setTimeout(sayAgain));
  },
});
