// "Stop and keep best": in the menu, on the keyboard's command list, and on the loop's own menu.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const STOP = "ReflectionFlow.StopAndKeepBest";
const FORGET = "ReflectionFlow.ForgetSearches";
const SEARCHES = ["ReflectionLoop", "ReflectionRound", "PromptBatch"];

function tell(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "ReflectionFlow", detail, life: 6000 });
}

async function stop() {
  const answer = await api.fetchApi("/reflectionflow/stop", { method: "POST" });
  const { stopping } = await answer.json();
  if (stopping) tell("info", "The search ends after this picture and hands out the best one.");
  else tell("warn", "No search is running.");
}

async function forget() {
  await api.fetchApi("/reflectionflow/kept", { method: "DELETE" });
  tell("info", "Searches that were kept in memory are forgotten; saved runs are not touched.");
}

app.registerExtension({
  name: "reflectionflow.search",
  commands: [
    { id: STOP, label: "Stop search and keep best", icon: "pi pi-stop-circle", function: stop },
    { id: FORGET, label: "Forget kept searches", icon: "pi pi-eraser", function: forget },
  ],
  menuCommands: [{ path: ["Edit", "ReflectionFlow"], commands: [STOP, FORGET] }],
  getNodeMenuItems(node) {
    const name = node.comfyClass?.replace("ReflectionFlow_", "");
    if (!SEARCHES.includes(name)) return [];
    return [{ content: "Stop search and keep best", callback: stop }];
  },
});
