// A colour of its own for each kind of wire, in the classic renderer and in Nodes 2.0: one that is
// seen on a dark canvas, and one on a light canvas.

import { app } from "../../scripts/app.js";

const COLOURS = {
  FLUX: ["#9575cd", "#5e35b1"],
  VERIFIER: ["#ffb74d", "#a14a00"],
  VERDICTS: ["#ffe0b2", "#7a5c00"],
  WRITER: ["#4fc3f7", "#01579b"],
  EVOLVER: ["#4db6ac", "#00695c"],
  INSPECTOR: ["#aed581", "#33691e"],
  VLM: ["#f06292", "#ad1457"],
  PLAN: ["#bcaaa4", "#5d4037"],
  OPTIONS: ["#90a4ae", "#37474f"],
  HISTORY: ["#dce775", "#5f6100"],
};
const kinds = Object.entries(COLOURS).map(([kind, pair]) => [`REFLECTIONFLOW_${kind}`, ...pair]);

// The interface marks a dark palette: older frontends at the body, newer ones at the root.
const DARK = ":root.dark-theme, body.dark-theme";

// A colour palette of ComfyUI empties the colours of all kinds that it does not name, so ours are
// what is found where it left nothing.
function colour(table) {
  for (const [kind, dark, light] of kinds) {
    let own = table[kind];
    Object.defineProperty(table, kind, {
      get: () => own || (document.querySelector(DARK) ? dark : light),
      set: (value) => (own = value),
      configurable: true,
      enumerable: true,
    });
  }
}

function variables(selector, column) {
  const lines = kinds.map((row) => `--color-datatype-${row[0]}: ${row[column]};`);
  return `${selector} { ${lines.join(" ")} }`;
}

app.registerExtension({
  name: "reflectionflow.colours",
  setup() {
    const style = document.createElement("style");
    style.textContent = `${variables(":root", 2)} ${variables(DARK, 1)}`;
    document.head.append(style);
    // Only the classic renderer has these tables.
    const tables = [app.canvas?.default_connection_color_byType, globalThis.LGraphCanvas?.link_type_colors];
    for (const table of tables) if (table) colour(table);
  },
});
