// A figure as a file: SVG and PNG in light colours with title and legend, CSV of what is drawn.
function saved(figure) {
  const ready = prepared(figure, light);
  const drawn = layout(figure, ready.own, light, 900);
  const named = new Map(figure.legend.map(function (mark) { return [mark.label, false]; }));
  ready.data.forEach(function (trace) {
    const label = owner(trace);
    const line = trace.mode !== "markers" || trace.error_y || named.size > 4;
    trace.showlegend = named.has(label) && !named.get(label) && !trace.fill && Boolean(line);
    if (trace.showlegend) {
      named.set(label, true);
      trace.name = label.replace(/&/g, "&amp;").replace(/</g, "&lt;");
    }
  });
  const title = figure.title.charAt(0).toUpperCase() + figure.title.slice(1);
  Object.assign(drawn, {
    title: { text: title.replace(/&/g, "&amp;").replace(/</g, "&lt;"), x: 0.02, xanchor: "left",
             font: { size: 15, color: light.ink } },
    paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", showlegend: named.size > 0,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } },
    margin: { l: 60, r: 20, t: named.size > 0 ? 90 : 56, b: 56 }, width: 900,
    height: Math.max(drawn.height, 340) + 100
  });
  return { data: ready.data, layout: drawn };
}
function fileName(figure, kind) {
  const name = document.querySelector(".eyebrow span").textContent + "-" + figure.id;
  return name.replace(/[^\w.-]+/g, "-").slice(0, 120) + "." + kind;
}
function download(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
function saveImage(figure, kind) {
  const size = saved(figure);
  window.Plotly.toImage(size, {
    format: "svg", width: size.layout.width, height: size.layout.height
  }).then(function (address) {
    if (kind === "svg") { download(address, fileName(figure, kind)); return; }
    raster(address, size.layout, function (png) { download(png, fileName(figure, kind)); });
  });
}
// The policy allows pictures from data: alone, so the PNG is drawn from the SVG here.
function raster(address, size, then) {
  const picture = new Image();
  picture.addEventListener("load", function () {
    const canvas = document.createElement("canvas");
    canvas.width = 2 * size.width;
    canvas.height = 2 * size.height;
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.drawImage(picture, 0, 0, size.width, size.height);
    then(canvas.toDataURL("image/png"));
  });
  picture.src = address;
}
function saveCsv(figure) {
  const lines = [["series", "x", "x label", "y", "low", "high", "text"]].concat(rowsOf(figure));
  const text = lines.map(function (row) { return row.map(field).join(","); }).join("\r\n");
  download("data:text/csv;charset=utf-8," + encodeURIComponent("\ufeff" + text + "\r\n"),
           fileName(figure, "csv"));
}
function rowsOf(figure) {
  return prepared(figure, light).data.flatMap(function (trace) {
    return (trace.type === "heatmap" ? heatRows : pointRows)(figure, trace);
  });
}
// A spreadsheet would compute what begins like a formula.
function field(value) {
  if (value === null || value === undefined) { return ""; }
  if (typeof value === "number") { return String(value); }
  const text = bare(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
  return '"' + safe.replace(/"/g, '""') + '"';
}
function bare(value) {
  return plain(String(value).replace(/<br>/g, "; ").replace(/<\/?b>/g, ""));
}
function pointRows(figure, trace) {
  const ticks = (figure.layout.xaxis || {}).tickvals || [];
  const names = (figure.layout.xaxis || {}).ticktext || [];
  const flipped = view.flip.has(figure.id) && canFlip(figure) === "x";
  const lying = !trace.error_y && Boolean(trace.error_x); // its interval is along x
  const bars = trace.error_y || trace.error_x || {};
  const x = trace.x || [];
  return x.map(function (value, at) {
    const place = flipped && value !== null ? Math.log2(value) : value;
    const tick = typeof place === "number" && ticks.length
      ? ticks[nearest(ticks, place)] : null;
    const close = tick !== null && Math.abs(tick - place) < 0.5;
    const y = (trace.y || [])[at];
    const up = (bars.array || [])[at];
    const down = (bars.arrayminus || bars.array || [])[at];
    const many = Array.isArray(trace.text) ? trace.text[at] : trace.text;
    return [owner(trace), value, close ? names[ticks.indexOf(tick)] : null, y,
            bounded(lying ? value : y, down, -1), bounded(lying ? value : y, up, 1), many];
  }).filter(function (row) { return row[1] !== null || row[3] !== null; });
}
function bounded(y, size, sign) {
  return typeof y === "number" && typeof size === "number"
    ? Number((y + sign * size).toPrecision(6)) : null;
}
function heatRows(figure, trace) {
  const rows = [];
  trace.z.forEach(function (line, i) {
    line.forEach(function (value, j) {
      const x = trace.x ? trace.x[j] : j;
      rows.push([trace.y ? trace.y[i] : i, x, x, value, null, null, ((trace.text || [])[i] || [])[j]]);
    });
  });
  return rows;
}
