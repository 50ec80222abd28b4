// The grid: a square a run, in rows of cells. The keyboard or a click chooses a run.
const squaresBox = document.getElementById("squares");
const KINDS = { ".": "l", r: "r", c: "c", n: "c", p: "p" };
const WORDS = { ".": "left", r: "running", c: "done", n: "done, without a value", p: "pruned" };
let plan = { rows: [], ids: [], reasons: {} };
let squares = []; // elements
let codes = [];
let chosen = -1;

function paint(at, code, share) {
  const one = squares[at];
  codes[at] = code;
  one.className = "sq " + (KINDS[code] || "f") + (at === chosen ? " chosen" : "");
  one.style.setProperty("--share", code === "r" ? 10 * (share || 0) + "%" : "");
}
function layOut(next, letters, shares) {
  plan = next;
  squares = [];
  squaresBox.textContent = "";
  let part = "";
  let at = 0;
  plan.rows.forEach(function (row) {
    if (row[0] !== part) {
      part = row[0];
      const head = document.createElement("p");
      head.className = "part-name";
      head.textContent = part;
      squaresBox.append(head);
    }
    const line = document.createElement("div");
    line.className = row[2] ? "row" : "row bare";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = row[2];
    const cells = document.createElement("span");
    cells.className = "cells";
    for (let k = 0; k < row[1]; k += 1, at += 1) {
      const square = document.createElement("i");
      square.dataset.at = String(at);
      cells.append(square);
      squares.push(square);
      paint(at, letters[at], shares[at]);
    }
    line.append(name, cells);
    squaresBox.append(line);
  });
  if (plan.awaited) {
    const more = document.createElement("p");
    more.className = "note";
    more.textContent = plan.awaited + " more runs follow once it is known which.";
    squaresBox.append(more);
  }
}
function patch(changes) {
  Object.keys(changes).forEach(function (at) {
    paint(Number(at), changes[at].charAt(0), Number(changes[at].slice(1)));
  });
  if (changes[chosen] !== undefined) { tell(); }
}
function runAt(at) {
  let left = at;
  for (const range of plan.ids) {
    if (left < range[1]) { return range[0] + left; }
    left -= range[1];
  }
  return 0;
}
function wordsOf(at) { return WORDS[codes[at]] || "failed: " + plan.reasons[codes[at]]; }
function chooseSquare(at) {
  if (at < 0 || at >= squares.length) { return; }
  if (squares[chosen]) { squares[chosen].classList.remove("chosen"); }
  chosen = at;
  squares[at].classList.add("chosen");
  squares[at].scrollIntoView({ block: "nearest", inline: "nearest" });
  tell();
}
function tell() {
  const at = chosen;
  const words = document.getElementById("chosen");
  fetch(page.root + "/runs/" + runAt(at)).then(function (answer) {
    return answer.json();
  }).then(function (found) {
    if (at !== chosen) { return; }
    words.textContent = found.text;
    showCurve(found.figure);
  }).catch(function () { words.textContent = "This run: " + wordsOf(at) + "."; });
}
function showCurve(figure) {
  const box = document.getElementById("chosen-curve");
  box.hidden = !figure;
  if (!figure) { return; }
  if (!box.firstChild) {
    box.innerHTML = '<figure class="chart"><figcaption></figcaption><div class="field">' +
      '<div class="plot" data-figure="one-run" role="img"></div></div></figure>';
  }
  box.querySelector("figcaption").textContent = figure.title;
  box.querySelector(".plot").setAttribute("aria-label", figure.alt);
  adopt([figure]);
  drawAll(byId.get(figure.id));
}
squaresBox.addEventListener("click", function (event) {
  const at = event.target.dataset.at;
  if (at !== undefined) { chooseSquare(Number(at)); }
});
squaresBox.addEventListener("pointerover", function (event) {
  const at = event.target.dataset.at;
  if (at !== undefined) { event.target.title = wordsOf(Number(at)); }
});
squaresBox.addEventListener("keydown", function (event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -squares.length, End: squares.length };
  let next = chosen + (step[event.key] || 0);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    next = below(chosen, event.key === "ArrowDown" ? 1 : -1);
  } else if (!(event.key in step)) { return; }
  event.preventDefault();
  chooseSquare(Math.min(Math.max(next, 0), squares.length - 1));
});
// The same place in the next or previous row.
function below(at, step) {
  if (!squares[at]) { return 0; }
  const row = squares[at].parentNode;
  const rows = Array.from(squaresBox.querySelectorAll(".cells"));
  const next = rows[rows.indexOf(row) + step];
  if (!next) { return at; }
  const place = Array.from(row.children).indexOf(squares[at]);
  return Number(next.children[Math.min(place, next.children.length - 1)].dataset.at);
}
