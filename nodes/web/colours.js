// A colour of its own for each kind of wire, in the classic renderer and in Nodes 2.0.

import { app } from "../../scripts/app.js";

const COLOURS = {
  FLUX: "#9575cd",
  VERIFIER: "#ffb74d",
  VERDICTS: "#ffe0b2",
  WRITER: "#4fc3f7",
  EVOLVER: "#4db6ac",
  INSPECTOR: "#aed581",
  VLM: "#f06292",
  PLAN: "#bcaaa4",
  OPTIONS: "#90a4ae",
  HISTORY: "#dce775",
};
const kinds = Object.entries(COLOURS).map(([kind, colour]) => [`REFLECTIONFLOW_${kind}`, colour]);

// A colour palette of ComfyUI empties the colours of all kinds that it does not name, so ours are
// what is found where it left nothing.
function colour(table) {
  for (const [kind, usual] of kinds) {
    let own = table[kind];
    Object.defineProperty(table, kind, {
      get: () => own || usual,
      set: (value) => (own = value),
      configurable: true,
      enumerable: true,
    });
  }
}

app.registerExtension({
  name: "reflectionflow.colours",
  setup() {
    colour(app.canvas.default_connection_color_byType);
    colour(LGraphCanvas.link_type_colors);
    const style = document.createElement("style");
    const lines = kinds.map(([kind, usual]) => `--color-datatype-${kind}: ${usual};`);
    style.textContent = `:root { ${lines.join(" ")} }`;
    document.head.append(style);
  },
});
