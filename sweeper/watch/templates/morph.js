// New HTML takes the place of old HTML in place: what is alike stays, with its scroll, its open
// folds, its focus and its drawn figures.
function added(node) { // by a script: not in the HTML
  return node.nodeType === 1 && (node.classList.contains("foot") || node.className === "copy" ||
    node.hasAttribute("data-runs"));
}
function keyOf(node) {
  return node.nodeType === 1 ? node.getAttribute("data-key") || node.id || "" : "";
}
function alike(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName &&
    keyOf(old) === keyOf(next);
}
function morph(old, next) {
  if (old.nodeType !== 1) {
    if (old.data !== next.data) { old.data = next.data; }
    return;
  }
  if (old.classList.contains("legend") && bareText(old) === bareText(next)) { return; }
  if (old.hasAttribute("data-figure")) {
    old.setAttribute("aria-label", next.getAttribute("aria-label"));
    return;
  }
  attributes(old, next);
  children(old, next);
}
function bareText(node) { return node.textContent.replace(/\s+/g, " ").trim(); }
function attributes(old, next) {
  if (old.nodeName === "DETAILS" || old.nodeName === "INPUT") { return; }
  Array.from(next.attributes).forEach(function (one) {
    if (old.getAttribute(one.name) !== one.value) { old.setAttribute(one.name, one.value); }
  });
  Array.from(old.attributes).forEach(function (one) {
    if (one.name !== "tabindex" && !next.hasAttribute(one.name)) { old.removeAttribute(one.name); }
  });
}
function children(old, next) {
  const spare = Array.from(old.childNodes).filter(function (one) { return !added(one); });
  const wanted = Array.from(next.childNodes).filter(function (one) { return !added(one); });
  let at = null; // the last child that is in its place
  wanted.forEach(function (child) {
    const found = spare.findIndex(function (one) { return alike(one, child); });
    let kept = child;
    if (found >= 0) {
      kept = spare.splice(found, 1)[0];
      morph(kept, child);
    }
    const place = at === null ? old.firstChild : behind(at);
    if (kept !== place) { old.insertBefore(kept, place); }
    at = kept;
  });
  spare.forEach(function (one) { one.remove(); });
}
// What comes after a child and its own button.
function behind(child) {
  let next = child.nextSibling;
  while (next && added(next) && next.className === "copy") { next = next.nextSibling; }
  return next;
}
function renew(region, html) {
  const box = document.querySelector('[data-region="' + region + '"]');
  if (!box) { return; }
  const next = box.cloneNode(false);
  next.innerHTML = html;
  children(box, next);
}
