"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const light = {
    ink: "#1d232b", soft: "#56606c", grid: "#e6e9ed", paper: "#ffffff", heat: "#14181d",
    level: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b87f00", "#56b4e9", "#1d232b", "#8a8f00"],
    ramp: ["#440154", "#3b528b", "#21918c", "#4aa84f", "#c29b00"],
    diverging: [[0, "#ee9c62"], [0.5, "#f6f6f4"], [1, "#7ab8e0"]]
  };
  const night = {
    ink: "#e8ebef", soft: "#a3adb8", grid: "#2a3139", paper: "#171b21", heat: "#f4f6f8",
    level: ["#56b4e9", "#f0882f", "#2fc59a", "#e59bc4", "#f0c42f", "#4a9bd9", "#e8ebef", "#b9bf3a"],
    ramp: ["#b18cf0", "#6f9be8", "#35b7ac", "#7ad151", "#fde725"],
    diverging: [[0, "#a9521b"], [0.5, "#242a32"], [1, "#23699c"]]
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
  // Only what names a colour is a token: a level may be called "@ink".
  function dress(value, theme, key) {
    if (typeof value === "string") {
      return /color/.test(key) && value.charAt(0) === "@" ? token(theme, value.slice(1)) : value;
    }
    if (Array.isArray(value)) {
      return value.map(function (one) { return dress(one, theme, ""); });
    }
    if (value !== null && typeof value === "object") {
      const out = {};
      Object.keys(value).forEach(function (name) { out[name] = dress(value[name], theme, name); });
      return out;
    }
    return value;
  }
  function axis(theme, extra) {
    return Object.assign({
      gridcolor: theme.grid, linecolor: theme.grid, zeroline: false, zerolinecolor: theme.soft,
      zerolinewidth: 1.5, tickcolor: theme.grid, automargin: true, fixedrange: true, ticks: "",
      tickfont: { color: theme.soft, size: 12 }
    }, extra, {
      title: { text: (extra.title || {}).text || "", standoff: 10,
               font: { size: 12.5, color: theme.soft } }
    });
  }
  function layout(figure, theme, width) {
    const own = dress(figure.layout, theme, "");
    const base = {
      autosize: true, height: own.height || 340,
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
  function draw(theme, fixed) {
    document.querySelectorAll("[data-colour]").forEach(function (one) {
      one.style.color = token(theme, one.getAttribute("data-colour").slice(1));
    });
    figures.forEach(function (figure) {
      document.querySelectorAll('[data-figure="' + figure.id + '"]').forEach(function (place) {
        drawOne(figure, place, theme, fixed);
      });
    });
  }
  function drawOne(figure, place, theme, fixed) {
    const data = dress(figure.data, theme, "");
    data.forEach(function (trace) {
      if (trace.type === "heatmap") { trace.textfont = { color: theme.heat, size: 13 }; }
    });
    const drawn = layout(figure, theme, fixed ? place.clientWidth : 0);
    drawn.height = Number(place.getAttribute("data-height")) || drawn.height;
    window.Plotly.react(place, data, drawn, { displayModeBar: false, responsive: true });
  }
  function now() { draw(dark.matches ? night : light, false); }

  now();
  dark.addEventListener("change", now);
  window.addEventListener("beforeprint", function () {
    root.classList.add("printing");
    draw(light, true);
  });
  window.addEventListener("afterprint", function () {
    root.classList.remove("printing");
    now();
  });
})();
