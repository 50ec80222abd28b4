// From a band to its single runs: by the legend, by a click on the band, or by the list of runs.
function linesOf(figure) {
  return figure.runs.lines.filter(function (one) { return one.group === view.level; });
}
function runTraces(figure, theme) {
  if (!view.level) { return []; }
  const listed = linesOf(figure);
  return listed.map(function (line) {
    const chosen = line.run === view.run;
    return {
      type: "scatter", mode: line.y.length === 1 ? "markers" : "lines", legendgroup: line.group,
      name: "", showlegend: false, x: figure.runs.x.slice(0, line.y.length), y: line.y,
      hovertemplate: "%{y:.4g}<br>" + line.said.replace(/&/g, "&amp;").replace(/</g, "&lt;") +
        "<extra></extra>",
      opacity: chosen || !view.run ? 0.9 : 0.4,
      line: { color: chosen ? theme.ink : token(theme, line.colour.slice(1)),
              width: chosen ? 3 : 1 }
    };
  });
}
function choose(level, run) {
  change(function (one) { one.level = level; one.run = run; });
}
// The level whose band lies under a point of the figure, or the chosen level's run there.
function pick(figure, place, event) {
  const field = place.querySelector(".nsewdrag").getBoundingClientRect();
  const full = place._fullLayout;
  const left = event.clientX - field.left;
  const top = event.clientY - field.top;
  if (left < 0 || top < 0 || left > field.width || top > field.height) { return; }
  const x = full.xaxis.p2d(left);
  const scored = figure.runs.lines.map(function (line) {
    const at = nearest(figure.runs.x, x);
    const y = line.y[Math.min(at, line.y.length - 1)];
    return { line: line, off: y === undefined || y === null ? Infinity
      : Math.abs(full.yaxis.d2p(y) - top) };
  });
  const near = best(scored.filter(function (one) { return one.line.group === view.level; }));
  if (near && near.off < 14) { choose(view.level, near.line.run); return; }
  const level = best(scored);
  if (level && level.off < 40) { choose(level.line.group, 0); } else { choose("", 0); }
}
function nearest(values, wanted) {
  let found = 0;
  values.forEach(function (value, at) {
    if (Math.abs(value - wanted) < Math.abs(values[found] - wanted)) { found = at; }
  });
  return found;
}
function best(scored) {
  return scored.reduce(function (least, one) {
    return !least || one.off < least.off ? one : least;
  }, null);
}
function button(text, pressed, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  if (pressed !== null) { made.setAttribute("aria-pressed", String(pressed)); }
  made.addEventListener("click", act);
  return made;
}
// The list of runs under the training curves. The same button keeps the focus over a redraw.
function showRuns() {
  document.querySelectorAll("[data-runs]").forEach(function (box) {
    const held = document.activeElement && document.activeElement.getAttribute("data-run");
    box.textContent = "";
    box.hidden = !view.level;
    if (!view.level) { return; }
    const head = document.createElement("p");
    const listed = figures.filter(function (one) { return one.runs; });
    const count = listed.reduce(function (sum, one) { return sum + linesOf(one).length; }, 0);
    head.textContent = "Runs of " + view.level + ": " + count + ". ";
    head.append(button("Show all levels again", null, function () { choose("", 0); }));
    const list = document.createElement("ul");
    listed.forEach(function (figure) {
      linesOf(figure).forEach(function (line) { list.append(runItem(line)); });
    });
    box.append(head, list);
    const again = held && list.querySelector('[data-run="' + held + '"]');
    if (again) { again.focus(); }
  });
}
function runItem(line) {
  const item = document.createElement("li");
  const chosen = line.run === view.run;
  const last = line.y.length ? line.y[line.y.length - 1] : null;
  const end = last === null ? "" : "; last value " + Number(last.toPrecision(4));
  const made = button(line.said + end, chosen, function () {
    choose(view.level, chosen ? 0 : line.run);
  });
  made.setAttribute("data-run", String(line.run));
  item.append(made);
  return item;
}
