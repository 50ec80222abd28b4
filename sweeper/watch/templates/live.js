// The page is kept up to date: numbered changes come in one stream; a hidden page stops its stream.
const page = JSON.parse(document.getElementById("state").textContent);
let known = page.cursor;
let figuresShown = 0;
let stream = null;
let offset = 0; // of the reader's clock from the database's, in seconds
let lostAt = null;
let ended = false; // the page is the report
const spans = new Map(); // figure -> the vertical range that the reader sees

// --- figures
function adopt(list) {
  list.forEach(function (one) {
    if (byId.has(one.id)) { Object.assign(byId.get(one.id), one); return; }
    figures.push(one);
    byId.set(one.id, one);
  });
}
// Axes never jump under the reader: a range only grows, and not while the pointer rests on it.
function steady(figure) {
  const axis = figure.layout.yaxis;
  if (!axis || !axis.range) { return; }
  const before = spans.get(figure.id);
  const now = before && places(figure).length && places(figure)[0].matches(":hover") ? before
    : before ? [Math.min(before[0], axis.range[0]), Math.max(before[1], axis.range[1])]
      : axis.range.slice();
  spans.set(figure.id, now);
  axis.range = now.slice();
}
function fetchFigures(number) {
  fetch(page.root + "/figures?v=" + number).then(function (answer) {
    return answer.json();
  }).then(function (found) {
    if (found.number <= figuresShown) { return; }
    ended = found.ended;
    figuresShown = found.number;
    adopt(found.figures);
    found.figures.forEach(steady);
    nameLabels();
    Object.keys(found.regions).forEach(function (name) { renew(name, found.regions[name]); });
    equip(document);
    fresh.clear();
    draw();
    showControls();
    showRuns();
  }).catch(lost);
}
// --- changes
function heed(found) {
  if (found.at) { offset = Date.now() / 1000 - found.at; }
  Object.keys(found.regions || {}).forEach(function (name) { renew(name, found.regions[name]); });
  if (found.plan) { layOut(found.plan, found.codes, found.shares); }
  if (found.squares) { patch(found.squares); }
  if (found.figures && found.figures > figuresShown) { fetchFigures(found.figures); }
  copies(document);
  clocks();
}
function clocks() {
  document.querySelectorAll("time[data-clock]").forEach(function (one) {
    const when = new Date(one.dateTime);
    one.textContent = when.toLocaleTimeString("en-GB");
  });
  ages();
}
function ages() {
  const now = Date.now() / 1000 - offset;
  document.querySelectorAll("[data-since]").forEach(function (one) {
    const age = Math.max(0, Math.round(now - Number(one.dataset.since)));
    one.textContent = age < 120 ? age + " s ago" : Math.round(age / 60) + " min ago";
  });
}
function lost() {
  if (ended) { return; } // nothing more is to come
  if (lostAt === null) { lostAt = new Date(); }
  const box = document.getElementById("away");
  box.hidden = false;
  box.textContent = "Not connected since " + lostAt.toLocaleTimeString("en-GB") +
    "; what is shown is of then. The page tries again by itself.";
  root.classList.add("away");
}
function reached() {
  lostAt = null;
  document.getElementById("away").hidden = true;
  root.classList.remove("away");
}
function listen() {
  if (stream || document.hidden) { return; }
  stream = new EventSource(page.root + "/stream?after=" + encodeURIComponent(known));
  stream.addEventListener("open", reached);
  stream.addEventListener("message", function (event) {
    known = event.lastEventId;
    heed(JSON.parse(event.data));
  });
  stream.addEventListener("error", function () {
    lost();
    if (stream.readyState === EventSource.CLOSED) { // the server refused: later again
      stream = null;
      window.setTimeout(listen, 5000);
    }
  });
}
document.addEventListener("visibilitychange", function () {
  if (document.hidden && stream) { stream.close(); stream = null; } else { listen(); }
});
window.setInterval(ages, 1000);
heed(page);
listen();
