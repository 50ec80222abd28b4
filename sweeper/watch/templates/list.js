// The list of sweeps is read again while it is looked at.
"use strict";
window.setInterval(function () {
  if (document.hidden) { return; }
  fetch(location.href).then(function (answer) { return answer.text(); }).then(function (text) {
    const next = new DOMParser().parseFromString(text, "text/html").getElementById("sweeps");
    const shown = document.getElementById("sweeps");
    if (next && !shown.contains(document.activeElement)) { shown.replaceChildren(...next.childNodes); }
    document.getElementById("away").hidden = true;
  }).catch(function () { document.getElementById("away").hidden = false; });
}, 5000);
