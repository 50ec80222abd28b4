"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const light = {
    ink: "#1d232b", soft: "#5a6572", grid: "#e4e7eb", paper: "#ffffff",
    level: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d232b", "#8a8f00"],
    ramp: ["#00204d", "#31446b", "#666970", "#958f78", "#b89f30", "#cc79a7", "#009e73", "#d55e00"],
    diverging: [[0, "#c65a11"], [0.5, "#f6f6f4"], [1, "#1f78b4"]], heat: "#1d232b"
  };
  const night = {
    ink: "#e8ebef", soft: "#a3adb8", grid: "#2c333c", paper: "#171b21",
    level: ["#56b4e9", "#e69f00", "#2fc59a", "#e59bc4", "#f0e442", "#4a9bd9", "#e8ebef", "#ff7f50"],
    ramp: ["#6fb7ff", "#8fa6c9", "#b5b3ad", "#d3c16a", "#ffe945", "#e59bc4", "#2fc59a", "#ff7f50"],
    diverging: [[0, "#e07b39"], [0.5, "#262c34"], [1, "#3d9be0"]], heat: "#e8ebef"
  };

  function token(theme, name) {
    const found = /^([a-z]+)(\d*)$/.exec(name);
    const value = theme[found[1]];
    return found[2] === "" ? value : value[Number(found[2])];
  }
  function dress(value, theme) {
    if (typeof value === "string") {
      return value.charAt(0) === "@" ? token(theme, value.slice(1)) : value;
    }
    if (Array.isArray(value)) { return value.map(function (one) { return dress(one, theme); }); }
    if (value !== null && typeof value === "object") {
      const out = {};
      Object.keys(value).forEach(function (key) { out[key] = dress(value[key], theme); });
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
    const own = dress(figure.layout, theme);
    const named = figure.data.filter(function (one) { return one.showlegend !== false; }).length;
    const base = {
      autosize: true, height: own.height || 340,
      margin: { l: 52, r: 14, t: 12, b: 48 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, color: theme.ink, size: 12.5 },
      showlegend: named > 1 && figure.data[0].type !== "heatmap",
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom",
                font: { size: 12 }, bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: theme.paper, bordercolor: theme.soft, font: { color: theme.ink } },
      hovermode: "closest", dragmode: false
    };
    if (width) { base.width = width; base.autosize = false; }
    return Object.assign(base, own, {
      xaxis: axis(theme, own.xaxis || {}), yaxis: axis(theme, own.yaxis || {})
    });
  }
  function draw(theme, width) {
    figures.forEach(function (figure) {
      const place = document.getElementById("figure-" + figure.id);
      if (!place) { return; }
      const data = dress(figure.data, theme);
      data.forEach(function (trace) {
        if (trace.type === "heatmap") { trace.textfont = { color: theme.heat, size: 13 }; }
      });
      const wide = width ? Math.min(width, place.clientWidth || width) : 0;
      window.Plotly.react(place, data, layout(figure, theme, wide),
        { displayModeBar: false, responsive: true });
    });
  }
  function now() { draw(dark.matches ? night : light, 0); }

  now();
  dark.addEventListener("change", now);
  window.addEventListener("beforeprint", function () {
    root.classList.add("printing");
    draw(light, 640);
  });
  window.addEventListener("afterprint", function () {
    root.classList.remove("printing");
    now();
  });
})();
