// Folds: a part of the page is drawn while it is open; links, the address and printing open it.
const folds = [];
const fresh = new Set(); // open parts whose figures are drawn as the view and the theme are now

function folded(place) { return place.closest("details[data-fold]:not([open])") !== null; }
function drawPart(part) {
  if (!part.open || fresh.has(part)) { return; }
  part.querySelectorAll("[data-figure]").forEach(function (place) {
    const figure = byId.get(place.getAttribute("data-figure"));
    if (figure && !folded(place)) { drawOne(figure, place); }
  });
  fresh.add(part);
}
// Everything that holds the target is opened, from the outside in.
function reveal(target) {
  const box = target.parentElement && target.parentElement.closest("details");
  if (box) { reveal(box); }
  if (target.tagName === "DETAILS") {
    target.open = true;
    if (folds.includes(target)) { drawPart(target); }
  }
}
function watchFolds(within) {
  within.querySelectorAll("details[data-fold]").forEach(function (part) {
    if (folds.includes(part)) { return; }
    folds.push(part);
    part.addEventListener("toggle", function () {
      if (part.open) { drawPart(part); } else { fresh.delete(part); }
    });
  });
}
let closed = []; // what printing opened
window.addEventListener("beforeprint", function () {
  closed = folds.filter(function (part) { return !part.open; });
  closed.forEach(function (part) { part.open = true; });
  root.classList.add("printing");
  draw();
});
window.addEventListener("afterprint", function () {
  root.classList.remove("printing");
  closed.forEach(function (part) { part.open = false; fresh.delete(part); });
  draw();
});
