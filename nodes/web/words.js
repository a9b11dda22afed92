// Texts of the pack's own scripts in the language of the interface, and messages at its corner.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

let words = {}; // from English

export const say = (text) => words[text] ?? text;

// Where the texts cannot be had they stay English.
export async function translate() {
  const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  const address = `/reflectionflow/words/${encodeURIComponent(language)}`;
  const answer = await api.fetchApi(address).catch(() => null);
  words = answer?.ok ? await answer.json() : {};
}

export function tell(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "ReflectionFlow", detail, life: 8000 });
}
