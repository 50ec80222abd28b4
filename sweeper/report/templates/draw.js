// Figures: a theme's colours, the axes, and what the view hides, flips or adds.
const figures = JSON.parse(document.getElementById("figures").textContent);
const byId = new Map(figures.map(function (one) { return [one.id, one]; }));
const root = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const light = {
  ink: "#1d232b", soft: "#56606c", grid: "#e6e9ed", paper: "#ffffff", heat: "#14181d",
  level: ["#0072b2", "#8a7a00", "#3a9bd1", "#5d6b7a", "#004a78", "#ad9b2f", "#1d232b", "#8791a0"],
  ramp: ["#2a0a5e", "#6b3fc4", "#a8329a", "#d4558f", "#e58bb4"],
  diverging: [[0, "#ee9c62"], [0.5, "#f6f6f4"], [1, "#6fc7b0"]]
};
const night = {
  ink: "#e8ebef", soft: "#a3adb8", grid: "#2a3139", paper: "#171b21", heat: "#f4f6f8",
  level: ["#56b4e9", "#d9c24a", "#9ad4f5", "#a9b4c0", "#2f8fd0", "#efe09a", "#e8ebef", "#7d8793"],
  ramp: ["#9377e8", "#b57de0", "#db83cf", "#f0a0cc", "#fbd0e2"],
  diverging: [[0, "#a9521b"], [0.5, "#242a32"], [1, "#1f7a62"]]
};

function mix(stops, part) {
  const at = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  function channel(hex, place) { return parseInt(hex.slice(place, place + 2), 16); }
  return "#" + [1, 3, 5].map(function (place) {
    const from = channel(stops[low], place);
    const to = channel(stops[low + 1], place);
    return Math.round(from + (to - from) * (at - low)).toString(16).padStart(2, "0");
  }).join("");
}
function token(theme, name) {
  if (name.indexOf("ramp:") === 0) { return mix(theme.ramp, Number(name.slice(5))); }
  const found = /^([a-z]+)(\d*)$/.exec(name);
  const value = theme[found[1]];
  return found[2] === "" ? value : value[Number(found[2])];
}
// Only what names a colour is a token: a level may be called "@ink". This copies as well.
function dress(value, theme, key) {
  if (typeof value === "string") {
    return /color/.test(key) && value.charAt(0) === "@" ? token(theme, value.slice(1)) : value;
  }
  if (Array.isArray(value)) {
    const inner = /color/.test(key) ? key : "";
    return value.map(function (one) { return dress(one, theme, inner); });
  }
  if (value !== null && typeof value === "object") {
    const out = {};
    Object.keys(value).forEach(function (name) { out[name] = dress(value[name], theme, name); });
    return out;
  }
  return value;
}
function axis(theme, given) {
  const extra = Object.assign({}, given);
  delete extra.scale;
  return Object.assign({
    gridcolor: theme.grid, linecolor: theme.grid, zeroline: false, zerolinecolor: theme.soft,
    zerolinewidth: 1.5, tickcolor: theme.grid, automargin: true, fixedrange: true, ticks: "",
    tickfont: { color: theme.soft, size: 12 }
  }, extra, {
    title: { text: (extra.title || {}).text || "", standoff: 10,
             font: { size: 12.5, color: theme.soft } }
  });
}
function layout(figure, own, theme, width) {
  const base = {
    autosize: true, height: own.height || 280,
    margin: { l: 52, r: 14, t: 12, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: theme.ink, size: 12.5 },
    showlegend: false,
    hoverlabel: { bgcolor: theme.paper, bordercolor: theme.soft, font: { color: theme.ink } },
    hovermode: "closest", dragmode: false
  };
  if (width) { base.width = width; base.autosize = false; }
  return Object.assign(base, own, {
    xaxis: axis(theme, own.xaxis || {}), yaxis: axis(theme, own.yaxis || {})
  });
}
function plain(text) {
  return text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}
// The label of the legend that a trace belongs to.
function owner(trace) { return trace.legendgroup || plain(trace.name || ""); }

// The levels themselves instead of their logarithms, or a log scale of a loss.
function canFlip(figure) {
  const x = (figure.layout.xaxis || {}).scale;
  const y = (figure.layout.yaxis || {}).scale;
  return x === "log2" ? "x" : y === "positive" ? "y" : "";
}
function flip(figure, data, own) {
  if (canFlip(figure) === "y") {
    own.yaxis.type = "log";
    return;
  }
  function power(value) { return value === null ? null : Math.pow(2, value); }
  data.forEach(function (trace) { if (trace.x) { trace.x = trace.x.map(power); } });
  (own.shapes || []).forEach(function (one) {
    ["x0", "x1"].forEach(function (end) {
      if (typeof one[end] === "number" && one.xref !== "paper") { one[end] = power(one[end]); }
    });
  });
  const given = own.xaxis;
  const low = power(given.range[0]);
  const high = power(given.range[1]);
  given.title.text = given.title.text.replace(" (log scale)", " (linear scale)");
  given.range = [Math.max(low - 0.03 * (high - low), 0), high];
  given.tickvals = given.tickvals.map(power);
  // Small levels stand too close together for their names.
  let last = -Infinity;
  given.ticktext = given.ticktext.map(function (text, at) {
    const near = given.tickvals[at] - last < 0.05 * (high - low);
    if (!near) { last = given.tickvals[at]; }
    return near ? "" : text;
  });
}

// Whole numbers at the ticks of a log axis: a 5 alone could be any decade's.
function logTicks(data, given) {
  const seen = data.flatMap(function (trace) { return trace.y || []; }).filter(function (value) {
    return typeof value === "number" && value > 0;
  });
  const low = Math.min.apply(null, seen);
  const high = Math.max.apply(null, seen);
  const decades = Math.log10(high / low);
  const parts = decades > 3 ? [1] : decades > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  given.tickvals = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1; power += 1) {
    parts.forEach(function (one) {
      given.tickvals.push(Number((one * Math.pow(10, power)).toPrecision(3)));
    });
  }
  given.ticktext = given.tickvals.map(function (one) {
    return one < 1 ? String(one) : one.toLocaleString("en");
  });
}

// A figure as it is to be drawn: traces and layout, in a theme.
function prepared(figure, theme) {
  const own = dress(figure.layout, theme, "");
  let data = dress(figure.data, theme, "");
  if (figure.slider) {
    const patch = dress(figure.slider.stops[stopOf(figure)].patch, theme, "");
    Object.keys(patch).forEach(function (at) { Object.assign(data[Number(at)], patch[at]); });
  }
  data.forEach(function (trace) {
    if (trace.type === "heatmap") { trace.textfont = { color: theme.heat, size: 13 }; }
    if (view.hide.has(owner(trace))) { trace.visible = false; }
    if (view.level && drills(figure) && owner(trace) !== view.level) {
      trace.opacity = 0.25 * (trace.opacity || 1);
    }
  });
  if (figure.runs) { data = data.concat(runTraces(figure, theme)); }
  if (view.flip.has(figure.id) && canFlip(figure)) { flip(figure, data, own); }
  if ((own.yaxis || {}).type === "log") { logTicks(data, own.yaxis); }
  return { data: data, own: own };
}
// The fields of a heat map keep room for their numbers: on a narrow page they stand in two lines
// without the scale of colours, and a wide map scrolls in its own box.
function fit(data, place) {
  data.forEach(function (trace) {
    if (trace.type !== "heatmap") { return; }
    const width = place.parentElement.clientWidth;
    const columns = trace.z.length ? trace.z[0].length : 0;
    if (width > 520) { place.style.minWidth = ""; return; }
    trace.showscale = false;
    trace.textfont.size = 11;
    trace.text = (trace.text || []).map(function (row) {
      return row.map(function (text) { return text.replace("</b> ", "</b><br>"); });
    });
    place.style.minWidth = (110 + 44 * columns) + "px";
  });
}
function printing() { return root.classList.contains("printing"); }
function themeNow() { return dark.matches && !printing() ? night : light; }
function drawOne(figure, place) {
  const theme = themeNow();
  const ready = prepared(figure, theme);
  fit(ready.data, place);
  const drawn = layout(figure, ready.own, theme, printing() ? place.clientWidth : 0);
  drawn.height = Number(place.getAttribute("data-height")) || drawn.height;
  window.Plotly.react(place, ready.data, drawn, { displayModeBar: false, responsive: true });
}
function places(figure) {
  return document.querySelectorAll('[data-figure="' + CSS.escape(figure.id) + '"]');
}
// A figure in a closed fold has no width; it is drawn when the fold is opened.
function drawAll(figure) {
  places(figure).forEach(function (place) {
    if (!folded(place)) { drawOne(figure, place); }
  });
}
function draw() {
  document.querySelectorAll("[data-colour]").forEach(function (one) {
    one.style.color = token(themeNow(), one.getAttribute("data-colour").slice(1));
  });
  figures.forEach(drawAll);
  folds.forEach(function (part) { if (part.open) { fresh.add(part); } });
}
