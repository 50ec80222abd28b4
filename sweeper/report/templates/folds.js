// Folds: a part of the page is drawn while it is open; links, the address and printing open it.
const folds = Array.from(document.querySelectorAll("details[data-fold]"));
const fresh = new Set(); // open parts whose figures are drawn as the view and the theme are now

function folded(place) { return place.closest("details[data-fold]:not([open])") !== null; }
function drawPart(part) {
  if (!part.open || fresh.has(part)) { return; }
  part.querySelectorAll("[data-figure]").forEach(function (place) {
    if (!folded(place)) { drawOne(byId.get(place.getAttribute("data-figure")), place); }
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
folds.forEach(function (part) {
  part.addEventListener("toggle", function () {
    if (part.open) { drawPart(part); } else { fresh.delete(part); }
  });
});
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
