// The page of a sweep that is not there yet is loaded again.
window.setTimeout(function () { location.reload(); }, 5000);
