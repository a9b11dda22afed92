// The slider between before and after, and a click that shows another picture on top.
const compare = document.querySelector(".compare");
const after = compare.querySelector(".after");
const one = (name, from = document) => from.querySelector(name);
const first = { before: one(".before"), words: one(".words", compare), slider: one("input", compare) };

function slide() {
  const { before, slider } = first;
  const pictures = before && [one("img", before), one("img", after)];
  const shape = (image) => image.getAttribute("width") / image.getAttribute("height");
  const alike = before && Math.abs(shape(pictures[0]) - shape(pictures[1])) < 0.01;
  compare.classList.toggle("slides", Boolean(alike));
  if (!before) return;
  slider.hidden = !alike;
  slider.oninput = () => compare.style.setProperty("--at", `${slider.value}%`);
  slider.oninput();
}

function made(tag, name, ...children) {
  const element = document.createElement(tag);
  element.className = name;
  element.append(...children.filter(Boolean).map((each) => each.cloneNode?.(true) ?? each));
  return element;
}

function summary(title, card) {
  const wrong = [...card.querySelectorAll(".wrong li")].map((each) => each.textContent).join("; ");
  const score = one(".score strong", card).textContent;
  const passed = one(".score .yes", card) ? "✓ passed" : wrong;
  return made("figcaption", "", [`${title}: ${score}`, passed].filter(Boolean).join(" · "));
}

function show(card) {
  const before = document.getElementById(card.dataset.before ?? "");
  compare.replaceChildren(after);
  after.replaceChildren(one(".boxed", card).cloneNode(true), summary(before ? "After" : "Score", card));
  first.before = first.slider = null;
  if (before) {
    first.before = made("figure", "before", one(".boxed", before), summary("Before", before));
    first.slider = Object.assign(made("input", ""), { type: "range", min: 0, max: 100, value: 50 });
    first.slider.ariaLabel = "How much of the picture before is shown, in percent";
    const words = one(":scope > .asked", card) ?? made("p", "", "painted again");
    compare.prepend(first.before, made("div", "words", words), first.slider);
  }
  one(".side .verdict").replaceChildren(...one(".verdict", card).cloneNode(true).childNodes);
  one(".side details").open = true;
  const name = one(".name", card).textContent;
  const link = Object.assign(made("a", "", name), { href: `#${card.id}` });
  const title = card.classList.contains("best") ? "Best picture: " : "Picture: ";
  one("#result").replaceChildren(title, link);
  slide();
}

slide();
one("#result").ariaLive = "polite";
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", (event) => {
    event.preventDefault();
    for (const other of document.querySelectorAll("nav a")) other.ariaCurrent = other === link;
    show(document.getElementById(link.hash.slice(1)));
  });
addEventListener("beforeprint", () => compare.classList.remove("slides"));
addEventListener("afterprint", slide);
