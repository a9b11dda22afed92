// The panel of a search that asks how it goes on: pick, veto, edit, draw a place, or go on.
//
// All texts come from models or people, so they only ever become text nodes. Whoever shows the panel
// gives a host: `say` translates a text of the panel, `picture` is the address of a picture by its
// number, `send` posts an answer and gives the response, `closed` is told when the panel is gone,
// `whole` fills the page.

const MASK_SIDE = 256; // pixels of a brushed mask's longer side
const LEAST_BOX = 0.01; // of a side; less is a slip of the hand
const TOOLS = { box: ["▭", "Box"], brush: ["●", "Brush"] };
export const STYLE = `
.rf-pause { position: fixed; inset: 0; z-index: 1050; display: flex; align-items: center;
  justify-content: center; background: rgb(0 0 0 / 45%); font: 14px/1.4 Inter, Arial, sans-serif;
  color: var(--input-text, #ddd); }
.rf-pause * { box-sizing: border-box; }
.rf-pause.rf-small { inset: auto auto 16px 50%; transform: translateX(-50%); background: none; }
.rf-small .rf-panel { width: auto; }
.rf-small .rf-body, .rf-small .rf-foot, .rf-small .rf-goal { display: none; }
.rf-pause.rf-whole { background: var(--comfy-menu-bg, #353535); }
.rf-whole .rf-panel { width: 100%; height: 100%; max-height: none; border: none; border-radius: 0; }
.rf-whole .rf-body { flex: 1; }
.rf-panel { display: flex; flex-direction: column; width: min(1180px, 94vw); max-height: 92vh;
  background: var(--comfy-menu-bg, #353535); border: 1px solid var(--border-color, #4e4e4e);
  border-radius: 12px; box-shadow: 0 12px 40px rgb(0 0 0 / 45%); overflow: hidden; }
.rf-head, .rf-foot { display: flex; flex-wrap: wrap; gap: 10px; align-items: center;
  padding: 12px 16px; }
.rf-head { border-bottom: 1px solid var(--border-color, #4e4e4e); }
.rf-foot { border-top: 1px solid var(--border-color, #4e4e4e); }
.rf-title { font-size: 16px; font-weight: 600; }
.rf-goal { flex: 1 1 200px; min-width: 0; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; color: var(--descrip-text, #999); }
.rf-clock { font-variant-numeric: tabular-nums; color: var(--descrip-text, #999); }
.rf-clock:empty { display: none; }
.rf-body { overflow: auto; padding: 16px; display: flex; flex-direction: column; gap: 14px; }
.rf-cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
.rf-cards.rf-few { grid-template-columns: repeat(auto-fit, minmax(230px, 360px));
  justify-content: center; }
.rf-card { display: flex; flex-direction: column; gap: 8px; padding: 10px; border-radius: 10px;
  background: var(--comfy-input-bg, #222); border: 2px solid transparent; }
.rf-card.rf-picked { border-color: #3d7fe0; }
.rf-card.rf-vetoed .rf-view, .rf-card.rf-over .rf-view { opacity: .35; }
.rf-view { position: relative; border-radius: 6px; overflow: hidden; cursor: pointer;
  background: repeating-conic-gradient(#8883 0 25%, #8881 0 50%) 0 0/16px 16px; }
.rf-view img { display: block; width: 100%; height: auto; image-rendering: auto; }
.rf-view canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; }
.rf-view.rf-drawing { cursor: crosshair; }
.rf-line { display: flex; gap: 6px; align-items: baseline; flex-wrap: wrap; }
.rf-name { font-weight: 600; }
.rf-score { margin-left: auto; font-variant-numeric: tabular-nums; }
.rf-passed { color: color-mix(in srgb, #2fb457 70%, var(--input-text, #ddd)); }
.rf-note { color: var(--descrip-text, #999); font-size: 12px; overflow-wrap: anywhere; }
.rf-fault { color: color-mix(in srgb, #e8702a 70%, var(--input-text, #ddd)); font-size: 13px; overflow-wrap: anywhere; }
.rf-pause button { font: inherit; font-size: 13px; padding: 5px 10px; border-radius: 7px;
  cursor: pointer; color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #353535);
  border: 1px solid var(--border-color, #4e4e4e); }
.rf-pause button:hover { filter: brightness(1.12); }
.rf-pause button:focus-visible, .rf-pause textarea:focus-visible { outline: 2px solid #3d7fe0;
  outline-offset: 1px; }
.rf-pause button:disabled { opacity: .45; cursor: default; filter: none; }
.rf-pause button.rf-on { background: #3d7fe0; border-color: #3d7fe0; color: #fff; }
.rf-pause button.rf-go { background: #2f6fd3; border-color: #2f6fd3; color: #fff;
  font-weight: 600; padding: 8px 16px; font-size: 14px; margin-left: auto; }
.rf-buttons { display: flex; gap: 6px; flex-wrap: wrap; }
.rf-pause textarea { font: inherit; font-size: 13px; width: 100%; resize: vertical; padding: 7px 9px;
  border-radius: 7px; color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #353535);
  border: 1px solid var(--border-color, #4e4e4e); }
.rf-pause label { display: flex; flex-direction: column; gap: 5px; }
.rf-wrong { flex: 1 1 100%; color: #e0603f; }
.rf-wrong:empty { display: none; }
.rf-space { flex: 1; }
`;

function made(tag, className = "", text = "", ...children) {
  const element = document.createElement(tag);
  element.className = className;
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function button(text, title, act, className = "") {
  const element = made("button", className, text);
  element.type = "button";
  element.title = title;
  element.addEventListener("click", act);
  return element;
}

// One picture: its verdict, its choices, and what the person draws on it.
class Card {
  constructor(panel, data) {
    Object.assign(this, { panel, data, tool: null, boxes: [], mask: null });
    this.vetoed = false;
    this.image = made("img");
    this.say = panel.host.say;
    const [round, position] = data.slot;
    const place = `${this.say("Round")} ${round}, ${this.say("no.")} ${position + 1}`;
    this.name = round ? place : `${this.say("Draft")} ${position + 1}`;
    this.image.alt = this.name;
    this.image.src = panel.host.picture(data.number);
    this.overlay = made("canvas");
    this.view = made("div", "rf-view", "", this.image, this.overlay);
    this.view.style.aspectRatio = `${data.width} / ${data.height}`;
    this.image.addEventListener("load", () => this.draw());
    this.listen();
    this.element = made("div", "rf-card", "", this.view, this.verdict(), this.choices());
    const planned = data.planned ?? [];
    this.words = made("textarea");
    this.words.rows = 3;
    this.words.value = planned[0] ?? "";
    this.words.placeholder = this.say("Say what to change, or leave it to the writer.");
    this.words.setAttribute("aria-label", `${this.say("What to change")}: ${this.name}`);
    this.words.addEventListener("input", () => panel.update());
    this.tools = this.places();
    const label = made("label", "", this.say("What to change"), this.words);
    this.edit = made("div", "rf-card-edit", "", label, this.tools, this.hint);
    this.edit.style.display = "contents";
    this.others = planned.slice(1).filter((text) => text && text !== planned[0]);
    this.element.append(this.edit);
    for (const text of this.others)
      this.element.append(made("div", "rf-note", `${this.say("Another chain")}: ${text}`));
  }

  verdict() {
    const { best, score, passed, faults, verdict, reflection } = this.data;
    const title = made("span", "rf-name", (best ? "★ " : "") + this.name);
    const line = made("div", "rf-line", "", title);
    const number = score === null ? this.say("not judged") : score.toFixed(3);
    if (best) line.append(made("span", "rf-note", this.say("best")));
    line.append(made("span", `rf-score${passed ? " rf-passed" : ""}`, number));
    if (passed) line.append(made("span", "rf-passed", this.say("passed")));
    const box = made("div", "", "", line);
    for (const fault of faults.slice(0, 6)) box.append(made("div", "rf-fault", fault));
    if (score === null) box.append(made("div", "rf-note", verdict));
    if (reflection) box.append(made("div", "rf-note", `${this.say("Made by")}: ${reflection}`));
    return box;
  }

  choices() {
    const { say } = this;
    const winner = say("The search goes on from this picture only.");
    this.pickButton = button(say("Winner"), winner, () => this.panel.pick(this.data.number));
    const veto = say("This picture is not continued and cannot be the best.");
    this.vetoButton = button(say("Veto"), veto, () => {
      this.vetoed = !this.vetoed;
      if (this.panel.picked === this.data.number) this.panel.picked = null;
      this.panel.update();
    });
    return made("div", "rf-buttons", "", this.pickButton, this.vetoButton);
  }

  places() {
    const about = this.say("Draw on the picture what may change; the rest of it stays.");
    this.hint = made("div", "rf-note", about);
    this.toolButtons = Object.entries(TOOLS).map(([tool, [sign, text]]) =>
      button(`${sign} ${this.say(text)}`, about, () => {
        this.tool = this.tool === tool ? null : tool;
        this.panel.update();
      }),
    );
    this.clear = button(this.say("Clear"), this.say("Takes back what you drew."), () => {
      this.boxes = [];
      this.mask = null;
      this.panel.update();
    });
    return made("div", "rf-buttons", "", ...this.toolButtons, this.clear);
  }

  get editable() {
    const { picked, data } = this.panel;
    if (!data.corrects || this.vetoed) return false;
    return picked === null ? this.data.planned !== null : picked === this.data.number;
  }

  get said() {
    const text = this.words.value.trim();
    return this.editable && text && text !== (this.data.planned?.[0] ?? "") ? text : "";
  }

  get place() {
    if (!this.editable || !(this.boxes.length || this.mask)) return null;
    const mask = this.mask ? this.mask.toDataURL("image/png").split(",")[1] : "";
    return { boxes: this.boxes, mask };
  }

  at(event) {
    const box = this.view.getBoundingClientRect();
    const part = (value, from, size) => Math.min(1, Math.max(0, (value - from) / size));
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  }

  listen() {
    const view = this.overlay;
    view.addEventListener("pointerdown", (event) => {
      if (!this.tool) return;
      view.setPointerCapture(event.pointerId);
      this.from = this.last = this.at(event);
      if (this.tool === "brush") this.paint(this.from);
    });
    view.addEventListener("pointermove", (event) => {
      if (!this.from) return;
      const to = this.at(event);
      if (this.tool === "brush") this.paint(to);
      this.last = to;
      this.draw();
    });
    view.addEventListener("pointerup", () => {
      if (!this.from) return;
      const box = this.tool === "box" && this.dragged;
      if (box && box[2] - box[0] > LEAST_BOX && box[3] - box[1] > LEAST_BOX) this.boxes.push(box);
      this.from = null;
      this.panel.update();
    });
    view.addEventListener("click", () => this.tool || this.panel.pick(this.data.number));
  }

  get dragged() {
    const [[a, b], [c, d]] = [this.from, this.last];
    return [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
  }

  paint(to) {
    const { width, height } = this.data;
    if (!this.mask) {
      const scale = MASK_SIDE / Math.max(width, height);
      this.mask = made("canvas");
      this.mask.width = Math.max(1, Math.round(width * scale));
      this.mask.height = Math.max(1, Math.round(height * scale));
      const blank = this.mask.getContext("2d");
      blank.fillRect(0, 0, this.mask.width, this.mask.height);
    }
    const pen = this.mask.getContext("2d");
    Object.assign(pen, { strokeStyle: "#fff", lineCap: "round", lineWidth: MASK_SIDE / 12 });
    pen.beginPath();
    pen.moveTo(this.last[0] * this.mask.width, this.last[1] * this.mask.height);
    pen.lineTo(to[0] * this.mask.width + 0.01, to[1] * this.mask.height);
    pen.stroke();
    this.draw();
  }

  draw() {
    const canvas = this.overlay;
    const [width, height] = [this.view.clientWidth, this.view.clientHeight];
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    if (this.mask && this.editable) this.drawMask(pen, width, height);
    pen.font = "11px Arial";
    for (const [text, ...box] of this.data.boxes) {
      const colour = this.data.faults.includes(text) ? "#d9773f" : "#2f9e5b";
      outline(pen, box, width, height, colour, text);
    }
    const mine = this.from && this.tool === "box" ? [...this.boxes, this.dragged] : this.boxes;
    for (const box of this.editable ? mine : []) outline(pen, box, width, height, "#4d94ff", "");
  }

  drawMask(pen, width, height) {
    const tint = made("canvas");
    Object.assign(tint, { width, height });
    const under = tint.getContext("2d");
    under.drawImage(this.mask, 0, 0, width, height);
    const pixels = under.getImageData(0, 0, width, height);
    for (let i = 0; i < pixels.data.length; i += 4)
      pixels.data.set([77, 148, 255, pixels.data[i] / 2], i);
    under.putImageData(pixels, 0, 0);
    pen.drawImage(tint, 0, 0);
  }

  update() {
    const { picked } = this.panel;
    const winner = picked === this.data.number;
    if (!this.editable) this.tool = null;
    this.element.classList.toggle("rf-picked", winner);
    this.element.classList.toggle("rf-vetoed", this.vetoed);
    this.element.classList.toggle("rf-over", picked !== null && !winner);
    this.pickButton.classList.toggle("rf-on", winner);
    this.pickButton.setAttribute("aria-pressed", winner);
    this.pickButton.disabled = this.vetoed;
    this.vetoButton.classList.toggle("rf-on", this.vetoed);
    this.vetoButton.setAttribute("aria-pressed", this.vetoed);
    this.edit.style.display = this.editable ? "contents" : "none";
    this.view.classList.toggle("rf-drawing", Boolean(this.tool));
    Object.keys(TOOLS).forEach((tool, i) => {
      this.toolButtons[i].classList.toggle("rf-on", this.tool === tool);
      this.toolButtons[i].setAttribute("aria-pressed", this.tool === tool);
    });
    this.hint.style.display = this.tool ? "" : "none";
    this.clear.disabled = !this.boxes.length && !this.mask;
    this.draw();
  }
}

function outline(pen, [left, top, right, bottom], width, height, colour, text) {
  Object.assign(pen, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 });
  pen.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  if (text) pen.fillText(text, left * width + 3, Math.max(11, top * height - 3));
}

export class Panel {
  constructor(data, host) {
    Object.assign(this, { data, host, say: host.say, picked: null });
    this.ends = performance.now() + data.seconds * 1000;
    this.cards = data.pictures.map((picture) => new Card(this, picture));
    const few = this.cards.length < 4 ? " rf-few" : "";
    const cards = made("div", `rf-cards${few}`, "", ...this.cards.map((card) => card.element));
    this.prompt = made("textarea");
    this.prompt.rows = 2;
    this.prompt.value = data.painted_from;
    this.prompt.placeholder = this.say(
      "The search's own prompt. What you write here is painted instead, until you clear it.",
    );
    this.prompt.addEventListener("input", () => this.update());
    const label = made("label", "", this.say("Paint from this prompt"), this.prompt);
    const body = made("div", "rf-body", "", cards, ...(data.ends ? [] : [label]));
    const panel = made("div", "rf-panel", "", this.head(), body, this.foot());
    panel.setAttribute("role", "dialog");
    panel.setAttribute("aria-label", this.say("Reflection Pause"));
    this.element = made("div", `rf-pause${host.whole ? " rf-whole" : ""}`, "", panel);
    for (const kind of ["keydown", "keyup", "keypress", "wheel", "paste", "copy", "cut"])
      this.element.addEventListener(kind, (event) => this.keep(event));
    document.body.append(this.element);
    this.recall();
    this.update();
    this.timer = setInterval(() => this.tick(), 500);
    this.resized = new ResizeObserver(() => this.cards.forEach((card) => card.draw()));
    this.cards.forEach((card) => this.resized.observe(card.view));
    this.tick();
  }

  // ComfyUI's shortcuts are not meant while somebody types here.
  keep(event) {
    event.stopPropagation();
    if (event.type === "keydown" && event.key === "Escape") this.shrink();
  }

  head() {
    const { round, prompt } = this.data;
    const { say } = this;
    const title = `${round ? `${say("Round")} ${round}` : say("Drafts")}: ${say("what next?")}`;
    this.clock = made("span", "rf-clock");
    this.clock.title = say("Without an answer the search goes on as planned.");
    const goal = made("span", "rf-goal", prompt);
    goal.title = prompt;
    const hide = say("Look at the graph; the search waits.");
    this.size = button(say("Hide"), hide, () => this.shrink());
    if (this.host.whole) this.size.style.display = "none";
    return made("div", "rf-head", "", made("span", "rf-title", title), goal, this.clock, this.size);
  }

  foot() {
    this.wrong = made("div", "rf-wrong");
    this.wrong.setAttribute("role", "alert");
    const { say } = this;
    this.stop = button(
      say("Stop and keep best"),
      say("Ends the search now. Run goes on from here, and asks again."),
      () => this.send({ ...this.answer(), stop: true }),
    );
    this.plain = button(
      "",
      say("Without your choices: as if nobody had been asked."),
      () => this.send({ prompt: this.data.painted_from }),
    );
    this.go = button("", "", () => this.send(this.answer()), "rf-go");
    if (this.data.ends) this.stop.style.display = "none"; // there is nothing to stop
    const space = made("span", "rf-space");
    return made("div", "rf-foot", "", this.wrong, this.stop, space, this.plain, this.go);
  }

  shrink() {
    if (this.host.whole) return;
    const small = this.element.classList.toggle("rf-small");
    this.size.textContent = this.say(small ? "Show" : "Hide");
    this.cards.forEach((card) => card.draw());
  }

  pick(number) {
    this.picked = this.picked === number ? null : number;
    const card = this.cards.find((one) => one.data.number === number);
    card.vetoed = false;
    this.update();
  }

  answer() {
    const [reflections, places] = [{}, {}];
    for (const card of this.cards) {
      if (card.said) reflections[card.data.number] = card.said;
      if (card.place) places[card.data.number] = card.place;
    }
    const vetoed = this.cards.filter((card) => card.vetoed).map((card) => card.data.number);
    const prompt = this.data.ends ? this.data.painted_from : this.prompt.value.trim();
    return { picked: this.picked, vetoed, reflections, places, prompt };
  }

  get changed() {
    const { picked, vetoed, reflections, places, prompt } = this.answer();
    const said = [vetoed, Object.keys(reflections), Object.keys(places)].some((one) => one.length);
    return picked !== null || said || prompt !== this.data.painted_from;
  }

  update() {
    this.cards.forEach((card) => card.update());
    const plan = this.say(this.data.ends ? "End here" : "Go on as planned");
    this.plain.style.display = this.changed ? "" : "none";
    this.plain.textContent = plan;
    const mine = this.say(this.data.ends ? "End with my choices" : "Go on with my choices");
    this.go.textContent = this.changed ? mine : plan;
    this.remember();
  }

  // What was chosen survives a reload of the page; what was brushed does not.
  remember() {
    const cards = this.cards.map((card) => [card.data.number, card.vetoed, card.words.value, card.boxes]);
    const kept = { id: this.data.id, picked: this.picked, prompt: this.prompt.value, cards };
    try {
      sessionStorage.setItem("reflectionflow.pause", JSON.stringify(kept));
    } catch {
      // The page has filled its storage: a reload then begins anew.
    }
  }

  recall() {
    const kept = JSON.parse(sessionStorage.getItem("reflectionflow.pause") ?? "{}");
    if (kept.id !== this.data.id) return;
    this.picked = kept.picked;
    this.prompt.value = kept.prompt;
    for (const [number, vetoed, words, boxes] of kept.cards) {
      const card = this.cards.find((one) => one.data.number === number);
      if (card) Object.assign(card, { vetoed, boxes });
      if (card) card.words.value = words;
    }
  }

  tick() {
    const left = Math.max(0, Math.round((this.ends - performance.now()) / 1000));
    const [minutes, seconds] = [Math.floor(left / 60), String(left % 60).padStart(2, "0")];
    const time = `${this.say("goes on in")} ${minutes}:${seconds}`;
    this.clock.textContent = this.data.seconds === null ? "" : time;
  }

  async send(answer) {
    for (const one of [this.stop, this.plain, this.go]) one.disabled = true;
    this.wrong.textContent = "";
    const sent = await this.host.send(answer).catch(() => null);
    if (sent?.ok) return this.close();
    const { error } = (await sent?.json().catch(() => null)) ?? {};
    this.wrong.textContent = error ?? this.say("The server did not answer. Try again.");
    for (const one of [this.stop, this.plain, this.go]) one.disabled = false;
  }

  close() {
    clearInterval(this.timer);
    this.resized.disconnect();
    this.element.remove();
    this.host.closed?.(this);
  }
}

