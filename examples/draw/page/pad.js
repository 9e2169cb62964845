// The drawing: strokes of a pen moved by mouse, finger, stylus or keyboard.

const SIDE = 400; // units of the drawing, at any displayed size
const PEN = 24;
const MARGIN = 40; // around the sent picture, so that no digit touches its edge
const SCALE = 0.6; // sent pixels per unit: a prepared digit has 20
const STEP = 10;
const SMALL_STEP = 2;
const WAYS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  Home: [-1, -1],
  PageUp: [1, -1],
  End: [-1, 1],
  PageDown: [1, 1],
};

export class Pad extends EventTarget {
  #canvas;
  #strokes = [];
  #pointer = null;
  #pen = { x: SIDE / 2, y: SIDE / 2, isDown: false, isShown: false };
  #held = new Set();

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    new ResizeObserver(() => this.#show()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#show());
    canvas.addEventListener("pointerdown", (event) => this.#touch(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#release(event));
    }
    canvas.addEventListener("keydown", (event) => this.#press(event));
    canvas.addEventListener("keyup", (event) => this.#held.delete(event.key));
    canvas.addEventListener("blur", () => this.#leave());
  }

  get isEmpty() {
    return this.#strokes.length === 0;
  }

  clear() {
    this.#strokes = [];
    this.#liftPen();
    this.#changed();
  }

  undo() {
    this.#strokes.pop();
    this.#liftPen();
    this.#changed();
  }

  // The drawing as a PNG, black on white.
  picture() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SCALE * (SIDE + 2 * MARGIN);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.scale(SCALE, SCALE);
    context.translate(MARGIN, MARGIN);
    drawStrokes(context, this.#strokes, "#000");
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  // The position of the picture's box on the drawing, in shares of its side.
  shares(box) {
    const [x, y, width, height] = box.map((pixels) => pixels / SCALE);
    return [(x - MARGIN) / SIDE, (y - MARGIN) / SIDE, width / SIDE, height / SIDE];
  }

  #touch(event) {
    if (this.#pointer !== null || event.button !== 0) return;
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#liftPen();
    this.#pen.isShown = false;
    this.#strokes.push([this.#point(event)]);
    this.#changed();
  }

  #drag(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#extend(this.#point(each));
    this.#changed();
  }

  #release(event) {
    if (event.pointerId === this.#pointer) this.#pointer = null;
  }

  #point(event) {
    const place = this.#canvas.getBoundingClientRect();
    const x = ((event.clientX - place.left) / place.width) * SIDE;
    const y = ((event.clientY - place.top) / place.height) * SIDE;
    return [clamp(x), clamp(y)];
  }

  #extend(point) {
    const stroke = this.#strokes.at(-1);
    const [x, y] = stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= 1) stroke.push(point);
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") this.#togglePen();
    else if (event.key === "Escape" && this.#pen.isDown) this.#liftPen();
    else if (event.key in WAYS) this.#movePen(event);
    else return;
    event.preventDefault();
    this.#pen.isShown = true;
    this.#changed();
  }

  #movePen(event) {
    this.#held.add(event.key);
    const step = event.shiftKey ? SMALL_STEP : STEP;
    for (const key of this.#held) {
      this.#pen.x = clamp(this.#pen.x + step * WAYS[key][0]);
      this.#pen.y = clamp(this.#pen.y + step * WAYS[key][1]);
    }
    if (this.#pen.isDown) this.#extend([this.#pen.x, this.#pen.y]);
  }

  #togglePen() {
    this.#pen.isDown = !this.#pen.isDown;
    if (this.#pen.isDown) this.#strokes.push([[this.#pen.x, this.#pen.y]]);
    this.dispatchEvent(new CustomEvent("pen", { detail: this.#pen.isDown }));
  }

  #liftPen() {
    if (this.#pen.isDown) this.#togglePen();
  }

  #leave() {
    this.#held.clear();
    this.#liftPen();
    this.#pen.isShown = false;
    this.#show();
  }

  #changed() {
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (!side) return;
    if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
    const colours = getComputedStyle(this.#canvas);
    const context = this.#canvas.getContext("2d");
    context.setTransform(side / SIDE, 0, 0, side / SIDE, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    drawStrokes(context, this.#strokes, colours.getPropertyValue("--ink"));
    if (this.#pen.isShown) this.#showPen(context, colours.getPropertyValue("--accent"));
  }

  #showPen(context, colour) {
    const { x, y, isDown } = this.#pen;
    context.beginPath();
    context.arc(x, y, PEN / 2 + 3, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 15 * dx, y + 15 * dy);
      context.lineTo(x + 24 * dx, y + 24 * dy);
    }
    context.lineWidth = 3;
    context.strokeStyle = context.fillStyle = colour;
    context.stroke();
    if (isDown) context.fill();
  }
}

function clamp(length) {
  return Math.min(Math.max(length, 0), SIDE);
}

// A curve through the midpoints smooths jagged strokes of a hand or a screen.
function drawStrokes(context, strokes, colour) {
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = colour;
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [[x, y], [nextX, nextY]] = [points[i], points[i + 1]];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points.at(-1));
    context.stroke();
  }
}
