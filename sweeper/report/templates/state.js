// The view: what is hidden, flipped and chosen. It lives in the address, after the anchor:
// #response;hide=a|b;flip=id;level=c;run=7;stop=id:3
const labels = new Set();
function nameLabels() {
  labels.clear();
  figures.forEach(function (figure) {
    figure.legend.forEach(function (mark) { labels.add(mark.label); });
  });
}
nameLabels();
let view = read(location.hash);

function drills(figure) {
  const place = places(figure)[places(figure).length - 1];
  return Boolean(figure.runs) || Boolean(place && place.closest("[data-drill]"));
}
function stopOf(figure) {
  const wanted = view.stop.get(figure.id);
  return wanted === undefined ? figure.slider.start : wanted;
}
function read(hash) {
  const out = { anchor: "", hide: new Set(), flip: new Set(), level: "", run: 0, stop: new Map() };
  hash.replace(/^#/, "").split(";").forEach(function (part, at) {
    const cut = part.indexOf("=");
    const key = part.slice(0, Math.max(cut, 0));
    let values;
    try {
      values = part.slice(cut + 1).split("|").map(decodeURIComponent);
    } catch (error) {
      return; // an address that was cut off
    }
    if (cut < 0 && at === 0) { out.anchor = values[0]; }
    values.forEach(function (value) { take(out, key, value); });
  });
  return out;
}
function take(out, key, value) {
  if (key === "hide" && labels.has(value)) { out.hide.add(value); }
  if (key === "flip" && byId.has(value)) { out.flip.add(value); }
  if (key === "level" && labels.has(value)) { out.level = value; }
  if (key === "run" && /^\d+$/.test(value)) { out.run = Number(value); }
  if (key === "stop") {
    const found = /^(.*):(\d+)$/.exec(value);
    const slider = found && byId.has(found[1]) && byId.get(found[1]).slider;
    if (slider && Number(found[2]) < slider.stops.length) {
      out.stop.set(found[1], Number(found[2]));
    }
  }
}
function written(one) {
  const parts = [one.anchor ? encodeURIComponent(one.anchor) : ""];
  function add(key, values) {
    if (values.length) { parts.push(key + "=" + values.map(encodeURIComponent).join("|")); }
  }
  add("hide", Array.from(one.hide));
  add("flip", Array.from(one.flip));
  add("level", one.level ? [one.level] : []);
  add("run", one.run ? [String(one.run)] : []);
  add("stop", Array.from(one.stop).map(function (pair) { return pair[0] + ":" + pair[1]; }));
  return parts.length === 1 ? parts[0] : parts.join(";");
}
// A change of the view is shown at once, and is an entry of the history: the back button undoes it.
function change(how) {
  how(view);
  const next = "#" + written(view);
  if (next !== (location.hash || "#")) { location.hash = next; }
  show();
}
function toggle(set, value) {
  if (!set.delete(value)) { set.add(value); }
}
function go(anchor) {
  const target = document.getElementById(anchor);
  if (!target) { return; }
  reveal(target);
  target.scrollIntoView();
  const fold = target.closest("summary");
  if (!fold) { target.tabIndex = -1; }
  (fold || target).focus({ preventScroll: true });
}
let shownAnchor = "";
function show() {
  draw();
  showControls();
  showRuns();
  if (view.anchor !== shownAnchor && view.anchor) { go(view.anchor); }
  shownAnchor = view.anchor;
}
