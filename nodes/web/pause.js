// Shows the panel of an open pause in ComfyUI. The server sends a pause to the browsers that may
// answer it; its id opens nothing but this question.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { Panel, STYLE } from "../../reflectionflow/panel.js";
import { say, tell, translate } from "./words.js";

let shown = null; // the panel on the screen
const over = new Set(); // ids of pauses that are no longer open

function post(address, body) {
  const sent = JSON.stringify({ ...body, client: api.clientId });
  const headers = { "Content-Type": "application/json" };
  return api.fetchApi(address, { method: "POST", headers, body: sent });
}

async function open(data) {
  if (shown?.data.id === data.id) return;
  await translate();
  if (shown?.data.id === data.id || over.has(data.id)) return; // asked for twice, or too late
  shown?.close();
  const address = `/reflectionflow/pauses/${data.id}`;
  shown = new Panel(data, {
    say,
    picture: (number) => api.apiURL(`${address}/${number}`),
    send: (answer) => post(address, answer),
    closed: (panel) => {
      if (shown === panel) shown = null;
    },
  });
  post(address, { seen: true });
}

async function waiting({ seconds }) {
  if (shown) return;
  await translate();
  const minutes = Math.ceil(seconds / 60);
  const wait = say("The queue waits while somebody steers a search. Minutes at most");
  tell("info", `${wait}: ${minutes}`);
}

const ask = () => post("/reflectionflow/pauses", {}).catch(() => {});

app.registerExtension({
  name: "reflectionflow.pause",
  setup() {
    document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
    api.addEventListener("reflectionflow.pause", ({ detail }) => open(detail));
    api.addEventListener("reflectionflow.waiting", ({ detail }) => setTimeout(waiting, 500, detail));
    api.addEventListener("reflectionflow.pause_over", ({ detail }) => {
      over.add(detail.id);
      if (shown?.data.id === detail.id) shown.close();
    });
    api.addEventListener("status", ask, { once: true });
    api.addEventListener("reconnected", ask);
    ask();
  },
});
