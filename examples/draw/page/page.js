// The page: sends a drawing or a photo and shows the answer.

import { Answer } from "./answer.js";
import { Pad } from "./pad.js";

const MOST_PHOTO_BYTES = 20_000_000; // as in serve.py
const BUSY_MS = 500;

const parts = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);
const pad = new Pad(parts.pad);
const answer = new Answer(parts);

let waiting = null; // the next picture to send: only the newest
let isSending = false;
let emptied = 0; // how often the drawing was cleared: answers to earlier drawings are ignored
let photos = 0; // increases when answers to earlier photos have to be ignored

pad.addEventListener("change", drawingChanged);
pad.addEventListener("pen", (event) => answer.say(event.detail ? "pen down" : "pen up"));
parts.undo.addEventListener("click", () => pad.undo());
parts.clear.addEventListener("click", clear);
parts.file.addEventListener("change", () => {
  openPhoto(parts.file.files[0]);
  parts.file.value = ""; // The same file may be chosen again.
});
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") {
    event.preventDefault();
    if (!parts.undo.disabled) pad.undo();
  }
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  openPhoto(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => openPhoto(event.clipboardData.files[0]));
showMode();

function drawingChanged() {
  photos++;
  parts.problem.textContent = "";
  showMode();
  readDrawing();
}

function readDrawing() {
  if (pad.isEmpty) {
    emptied++;
    waiting = null;
    answer.clear();
    return;
  }
  const number = emptied;
  ask(() => sendDrawing(() => emptied === number && parts.photo.hidden));
}

function openPhoto(file) {
  if (!file) return;
  const number = ++photos;
  if (file.size > MOST_PHOTO_BYTES) {
    parts.problem.textContent = `The photo is too large: at most ${MOST_PHOTO_BYTES / 1e6} MB.`;
    return;
  }
  ask(() => sendPhoto(file, () => photos === number));
}

function clear() {
  if (parts.photo.hidden) {
    pad.clear();
    return;
  }
  photos++;
  parts.photo.hidden = true;
  parts.problem.textContent = "";
  showMode();
  readDrawing();
}

async function ask(send) {
  waiting = send;
  if (isSending) return;
  isSending = true;
  parts.answer.ariaBusy = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    await next();
  }
  isSending = false;
  parts.answer.ariaBusy = false;
}

async function sendDrawing(isWanted) {
  const found = await post("drawing", await pad.picture(), "image/png", isWanted);
  if (!found) return;
  const boxes = found.digits.length > 1 ? found.digits.map(({ box }) => pad.shares(box)) : [];
  answer.show(found.digits, boxes, "no digit yet");
}

async function sendPhoto(file, isWanted) {
  answer.wait("reading …");
  const found = await post("photo", file, file.type || "application/octet-stream", isWanted);
  if (!found) {
    if (isWanted()) answer.goOn();
    return;
  }
  const [width, height] = found.size;
  parts.photo.src = `data:image/jpeg;base64,${found.preview}`;
  parts.photo.hidden = false;
  showMode();
  answer.show(
    found.digits,
    found.digits.map(({ box: [x, y, w, h] }) => [x / width, y / height, w / width, h / height]),
  );
}

// The server's answer; null without one: the page then shows the reason.
async function post(path, body, type, isWanted) {
  try {
    let response;
    do {
      if (response) await new Promise((done) => setTimeout(done, BUSY_MS));
      response = await fetch(path, { method: "POST", headers: { "Content-Type": type }, body });
    } while (response.status === 503 && isWanted());
    const found = await response.json();
    if (!isWanted()) return null;
    parts.problem.textContent = response.ok ? "" : sentence(found.error);
    return response.ok ? found : null;
  } catch {
    if (isWanted()) parts.problem.textContent = "The server does not answer: is it still running?";
    return null;
  }
}

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}

function showMode() {
  const isPhoto = !parts.photo.hidden;
  parts.pad.hidden = isPhoto;
  parts.hint.hidden = isPhoto || !pad.isEmpty;
  parts.stage.classList.toggle("drawing", !isPhoto);
  parts.undo.disabled = isPhoto || pad.isEmpty;
  parts.clear.disabled = !isPhoto && pad.isEmpty;
  parts.clear.textContent = isPhoto ? "Close photo" : "Clear";
}
