// Controls: what the page's text already holds becomes something to press.
function tools(figure, place) {
  const foot = document.createElement("div");
  foot.className = "foot";
  place.closest(".chart").append(foot);
  const bar = document.createElement("div");
  bar.className = "tools";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", figure.title);
  if (canFlip(figure)) {
    const made = button("", null, function () {
      change(function (one) { toggle(one.flip, figure.id); });
    });
    made.setAttribute("data-flip", figure.id);
    bar.append(made);
  }
  const kinds = { SVG: function () { saveImage(figure, "svg"); },
                  PNG: function () { saveImage(figure, "png"); },
                  CSV: function () { saveCsv(figure); } };
  Object.keys(kinds).forEach(function (kind) {
    const made = button(kind, null, kinds[kind]);
    made.setAttribute("aria-label", "Save as " + kind);
    made.title = "Save as " + kind;
    bar.append(made);
  });
  foot.append(bar);
}
function keys(within) {
  within.querySelectorAll("span.key").forEach(function (old) {
    const label = old.getAttribute("data-label");
    const drill = Boolean(old.closest("[data-drill]"));
    const made = button("", null, function () {
      if (drill) { choose(view.level === label ? "" : label, 0); return; }
      change(function (one) { toggle(one.hide, label); });
    });
    made.className = "key";
    made.setAttribute("data-label", label);
    made.title = drill ? "Show its single runs" : "Show or hide";
    made.append.apply(made, Array.from(old.childNodes));
    old.replaceWith(made);
  });
}
function sliders(within) {
  within.querySelectorAll("[data-slider][disabled]").forEach(function (input) {
    const figure = byId.get(input.getAttribute("data-slider"));
    if (!figure) { return; } // the live page fetches its figures
    input.disabled = false;
    input.addEventListener("input", function () {
      view.stop.set(figure.id, Number(input.value));
      drawAll(figure);
      showControls();
    });
    input.addEventListener("change", function () { change(function () { /* as it stands */ }); });
  });
}
function showControls() {
  document.querySelectorAll("button.key").forEach(function (one) {
    const label = one.getAttribute("data-label");
    const drill = Boolean(one.closest("[data-drill]"));
    one.setAttribute("aria-pressed", String(drill ? view.level === label : !view.hide.has(label)));
  });
  document.querySelectorAll("[data-flip]").forEach(function (one) {
    const figure = byId.get(one.getAttribute("data-flip"));
    const linear = (canFlip(figure) === "x") === view.flip.has(figure.id);
    one.textContent = linear ? "Log axis" : "Linear axis";
  });
  document.querySelectorAll("[data-table][open]").forEach(function (box) {
    list(byId.get(box.getAttribute("data-table")), box);
  });
  document.querySelectorAll("[data-slider]").forEach(function (input) {
    const figure = byId.get(input.getAttribute("data-slider"));
    if (!figure) { return; }
    const stop = figure.slider.stops[stopOf(figure)];
    input.value = String(stopOf(figure));
    input.setAttribute("aria-valuetext", stop.label);
    const box = input.closest(".slider");
    box.querySelector("output").textContent = stop.label;
    box.querySelector(".said").textContent = stop.said;
  });
}
function contents() {
  document.querySelector(".contents").addEventListener("click", function (event) {
    const link = event.target.closest("a");
    if (!link) { return; }
    event.preventDefault();
    const anchor = link.getAttribute("href").slice(1);
    if (view.anchor === anchor) { go(anchor); return; }
    change(function (one) { one.anchor = anchor; });
  });
}
// Texts to paste, and commands, have a button that copies them.
function copies(within) {
  const commands = Array.from(within.querySelectorAll("main code")).filter(function (one) {
    return /^(sweeper|kill) /.test(one.textContent) && !one.closest("summary");
  });
  Array.from(within.querySelectorAll("[data-copy]")).concat(commands).forEach(function (box) {
    if (box.nextElementSibling && box.nextElementSibling.className === "copy") { return; }
    const made = button("Copy", null, function () {
      const range = document.createRange();
      range.selectNodeContents(box);
      const chosen = window.getSelection();
      chosen.removeAllRanges();
      chosen.addRange(range);
      made.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    });
    made.className = "copy";
    if (box.tagName === "CODE") { made.setAttribute("aria-label", "Copy: " + box.textContent); }
    box.after(made);
  });
}

// Everything on the page, or what was added to it, gets its controls.
function equip(within) {
  watchFolds(within);
  figures.forEach(function (figure) {
    places(figure).forEach(function (place) {
      if (place.closest(".hero") || place.closest(".chart").querySelector(".foot")) { return; }
      tools(figure, place);
      listing(figure, place);
      if (figure.runs) {
        place.addEventListener("click", function (event) { pick(figure, place, event); });
      }
    });
  });
  keys(within);
  sliders(within);
  copies(within);
}
equip(document);
contents();
show();
window.addEventListener("hashchange", function () {
  if ("#" + written(view) === (location.hash || "#")) { return; } // shown already
  view = read(location.hash);
  show();
});
dark.addEventListener("change", draw);
