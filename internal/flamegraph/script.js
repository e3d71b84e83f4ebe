// Click on a frame: it takes all of the width, and what it called goes with it.
"use strict";
(function () {
  var all = Array.prototype.map.call(document.querySelectorAll("g.f"), function (g) {
    var r = g.querySelector("rect");
    return {
      g: g, r: r, t: g.querySelector("text"), title: g.querySelector("title").textContent,
      x: +r.getAttribute("x"), y: +r.getAttribute("y"), w: +r.getAttribute("width"),
    };
  });
  var told = document.getElementById("told"), reset = document.getElementById("reset");
  var left = all[0].x, width = all[0].w;

  function label(f, w) {
    var name = f.title.slice(0, f.title.lastIndexOf(": ")), n = Math.floor((w - 6) / 6.6);
    f.t.textContent = n < 3 ? "" : name.length <= n ? name : name.slice(0, n - 1) + "…";
  }

  function zoom(to) {
    var k = width / to.w;
    all.forEach(function (f) {
      var inside = f.x >= to.x - 0.01 && f.x + f.w <= to.x + to.w + 0.01;
      var above = f.y < to.y && f.x <= to.x + 0.01 && f.x + f.w >= to.x + to.w - 0.01;
      f.g.style.display = (inside && f.y >= to.y) || above ? "" : "none";
      f.g.classList.toggle("dim", above);
      var x = above ? left : left + (f.x - to.x) * k, w = above ? width : f.w * k;
      f.r.setAttribute("x", x);
      f.r.setAttribute("width", Math.max(w, 0.1));
      f.t.setAttribute("x", x + 3);
      label(f, w);
    });
    reset.setAttribute("visibility", to === all[0] ? "hidden" : "visible");
  }

  all.forEach(function (f) {
    f.g.addEventListener("click", function () { zoom(f); });
    f.g.addEventListener("mouseenter", function () { told.textContent = f.title; });
  });
  reset.addEventListener("click", function () { zoom(all[0]); });
  document.getElementById("search").addEventListener("click", function () {
    var what = window.prompt("Functions with this in their name (nothing: none):", "");
    if (what === null) { return; }
    var n = 0;
    all.forEach(function (f) {
      var hit = what !== "" && f.title.toLowerCase().indexOf(what.toLowerCase()) >= 0;
      f.g.classList.toggle("hit", hit);
      n += hit ? 1 : 0;
    });
    told.textContent = what === "" ? " " : n + " frames match " + what;
  });
})();
