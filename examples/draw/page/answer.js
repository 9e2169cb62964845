// The network's answer: the guess, ten bars, its input images and their boxes.

const ANNOUNCE_MS = 700; // without drawing; then a screen reader announces no half-drawn guess

export class Answer {
  #digits = [];
  #chosen = 0;
  #boxes = [];
  #summary;
  #parts;
  #bars;
  #timer;

  // parts: the elements guess, summary, bars, seen, boxes and announcement.
  constructor(parts) {
    this.#parts = parts;
    this.#bars = Array.from({ length: 10 }, (_, digit) => addBar(parts.bars, digit));
    this.clear();
  }

  clear(summary = "nothing yet") {
    this.show([], [], summary);
    clearTimeout(this.#timer);
  }

  // digits: from the server; boxes: x, y, width and height of each, in shares of the picture.
  show(digits, boxes, summary = "no digit") {
    this.#digits = digits;
    this.#boxes = boxes;
    this.#chosen = Math.min(this.#chosen, Math.max(digits.length - 1, 0));
    this.#showSeen();
    this.#choose(this.#chosen);
    const read = digits.map(guessOf);
    if (digits.length === 1) summary = certainty(digits[0]);
    if (digits.length > 1) summary = `${digits.length} digits: ${read.join(" ")}`;
    this.#summary = summary;
    this.goOn();
    this.#announce(digits.length === 1 ? `${read[0]}, ${summary}` : summary);
  }

  // Show that the answer takes a while.
  wait(text) {
    this.#parts.summary.textContent = text;
  }

  goOn() {
    this.#parts.summary.textContent = this.#summary;
  }

  say(text) {
    this.#parts.announcement.textContent = text;
  }

  #announce(text) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.say(text), ANNOUNCE_MS);
  }

  #choose(number) {
    this.#chosen = number;
    const digit = this.#digits[number];
    const guess = digit ? guessOf(digit) : null;
    this.#parts.guess.textContent = guess ?? "–";
    this.#parts.guess.classList.toggle("none", guess === null);
    this.#bars.forEach(({ row, bar, percent }, value) => {
      const chance = digit?.probabilities[value] ?? 0;
      row.classList.toggle("first", value === guess);
      bar.style.width = `${100 * chance}%`;
      percent.textContent = digit ? percentage(chance) : "";
    });
    [...this.#parts.seen.children].forEach((button, i) => {
      button.setAttribute("aria-pressed", i === number);
    });
    [...this.#parts.boxes.children].forEach((box, i) => box.classList.toggle("chosen", i === number));
  }

  #showSeen() {
    const { seen, boxes } = this.#parts;
    while (seen.children.length > this.#digits.length) seen.lastChild.remove();
    while (seen.children.length < this.#digits.length) {
      const number = seen.children.length;
      seen.append(seenButton(() => this.#choose(number)));
    }
    this.#digits.forEach((digit, number) => showSeen(seen.children[number], digit, number));
    boxes.replaceChildren(
      ...this.#boxes.map((place, number) => {
        const box = boxOf(place, guessOf(this.#digits[number]));
        box.addEventListener("click", () => this.#choose(number));
        return box;
      }),
    );
  }
}

function addBar(list, digit) {
  const row = document.createElement("li");
  const [name, track, bar, percent] = ["span", "div", "div", "span"].map((kind) =>
    document.createElement(kind),
  );
  name.textContent = digit;
  track.className = "track";
  bar.className = "bar";
  percent.className = "percent";
  track.append(bar);
  row.append(name, track, percent);
  list.append(row);
  return { row, bar, percent };
}

function seenButton(choose) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  button.type = "button";
  button.append(canvas, document.createElement("span"));
  button.addEventListener("click", choose);
  return button;
}

function showSeen(button, digit, number) {
  const [canvas, caption] = button.children;
  const bytes = Uint8Array.from(atob(digit.image), (letter) => letter.charCodeAt(0));
  const pixels = new ImageData(28, 28);
  bytes.forEach((light, i) => pixels.data.set([light, light, light, 255], 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  caption.textContent = `${guessOf(digit)} · ${percentage(Math.max(...digit.probabilities))}`;
  button.setAttribute("aria-label", `Digit ${number + 1}: ${guessOf(digit)}, ${certainty(digit)}`);
}

function boxOf([left, top, width, height], guess) {
  const box = document.createElement("div");
  const name = document.createElement("span");
  name.textContent = guess;
  box.className = "box";
  Object.assign(box.style, {
    left: `${100 * left}%`,
    top: `${100 * top}%`,
    width: `${100 * width}%`,
    height: `${100 * height}%`,
  });
  box.append(name);
  return box;
}

function guessOf(digit) {
  return digit.probabilities.indexOf(Math.max(...digit.probabilities));
}

function percentage(chance) {
  return `${Math.round(100 * chance)} %`;
}

function certainty(digit) {
  return `${percentage(Math.max(...digit.probabilities))} sure`;
}
