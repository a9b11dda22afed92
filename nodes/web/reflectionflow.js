// "Stop and keep best": in the menu, on the keyboard's command list, and on the loop's own menu.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { say, tell, translate } from "./words.js";

const STOP = "ReflectionFlow.StopAndKeepBest";
const FORGET = "ReflectionFlow.ForgetSearches";
const SEARCHES = ["ReflectionLoop", "ReflectionRound", "PromptBatch"];

// What the server answers; null, and a message, where it does not.
async function ask(address, method) {
  try {
    const answer = await api.fetchApi(address, { method });
    if (answer.ok) return await answer.json();
  } catch {
    // told below
  }
  tell("error", say("ComfyUI does not answer. Check that it is running, and try again."));
  return null;
}

async function stop() {
  const answer = await ask("/reflectionflow/stop", "POST");
  if (answer?.stopping) tell("info", say("The search ends after this picture and hands out the best one."));
  else if (answer) tell("warn", say("No search is running."));
}

async function forget() {
  const answer = await ask("/reflectionflow/kept", "DELETE");
  if (answer) tell("info", say("Searches that were kept in memory are forgotten; saved runs are not touched."));
}

app.registerExtension({
  name: "reflectionflow.search",
  commands: [
    { id: STOP, label: "Stop search and keep best", icon: "pi pi-stop-circle", function: stop },
    { id: FORGET, label: "Forget kept searches", icon: "pi pi-eraser", function: forget },
  ],
  menuCommands: [{ path: ["Edit", "ReflectionFlow"], commands: [STOP, FORGET] }],
  setup: translate,
  getNodeMenuItems(node) {
    const name = node.comfyClass?.replace("ReflectionFlow_", "");
    if (!SEARCHES.includes(name)) return [];
    return [{ content: say("Stop search and keep best"), callback: stop }];
  },
});
