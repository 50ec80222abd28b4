// A figure as a table of what is drawn, made when it is opened.
function listing(figure, place) {
  const box = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "Table";
  summary.title = figure.title;
  box.append(summary);
  box.setAttribute("data-table", figure.id);
  box.addEventListener("toggle", function () { list(figure, box); });
  place.closest(".chart").querySelector(".foot").prepend(box);
}
function list(figure, box) {
  while (box.children.length > 1) { box.lastChild.remove(); }
  if (!box.open) { return; }
  const frame = document.createElement("div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Table: " + figure.title);
  frame.append(grid(heads(figure), rowsOf(figure).map(shownRow)));
  box.append(frame);
}
// A level goes by its name; columns that hold nothing are left out.
function shownRow(row) {
  const named = row[2] === null ? row[1] : row[2];
  return [row[0], named, row[3], row[4], row[5], row[6]].map(function (value) {
    if (value === null || value === undefined) { return ""; }
    return typeof value === "number" ? String(Number(value.toPrecision(5))) : bare(value);
  });
}
function heads(figure) {
  function title(axis, name) {
    return bare(((figure.layout[axis] || {}).title || {}).text || name);
  }
  const fields = figure.data.some(function (trace) { return trace.type === "heatmap"; });
  return [fields ? title("yaxis", "row") : "series", title("xaxis", "x"),
          fields ? "value" : title("yaxis", "y"), "low", "high", "note"];
}
function grid(names, rows) {
  const kept = names.map(function (name, at) { return at; }).filter(function (at) {
    return rows.some(function (row) { return row[at] !== ""; });
  });
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  kept.forEach(function (at) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = names[at];
    head.append(cell);
  });
  const body = table.createTBody();
  rows.forEach(function (row) {
    const line = body.insertRow();
    kept.forEach(function (at) { line.insertCell().textContent = row[at]; });
  });
  return table;
}
