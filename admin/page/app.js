// The page /status: what the server says each second, shown. Every text comes in by
// textContent: requests, paths and messages are other people's.
"use strict";

const $ = (id) => document.getElementById(id);

function el(name, props = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(props)) {
    if (k === "class") e.className = v;
    else if (k === "text") e.textContent = v;
    else if (k === "label") e.setAttribute("aria-label", v);
    else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

const svg = (name, props = {}) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
  return e;
};

// set changes what is different only, so that nothing that is selected, read out or
// scrolled is disturbed.
function set(e, text, className) {
  if (e.textContent !== text) e.textContent = text;
  if (className !== undefined && e.className !== className) e.className = className;
}

// keep makes the children of parent those of items, and leaves those that are there.
function keep(parent, items, key, make, update) {
  const have = new Map();
  for (const c of parent.children) if (c.dataset.key) have.set(c.dataset.key, c);
  let before = null;
  for (const item of items) {
    const k = String(key(item));
    let e = have.get(k);
    if (e) have.delete(k);
    else {
      e = make(item);
      e.dataset.key = k;
    }
    const next = before ? before.nextElementSibling : first(parent);
    if (next !== e) parent.insertBefore(e, next);
    update(e, item);
    before = e;
  }
  for (const e of have.values()) e.remove();
}

function first(parent) {
  for (const c of parent.children) if (!c.hasAttribute("data-fixed")) return c;
  return null;
}

// --- what people read ------------------------------------------------------

function span(s) {
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 60) return Math.floor(s) + " s";
  if (s < 3600) return Math.floor(s / 60) + "m " + String(Math.floor(s) % 60).padStart(2, "0") + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h " + String(Math.floor(s / 60) % 60).padStart(2, "0") + "m";
  return Math.floor(s / 86400) + "d " + String(Math.floor(s / 3600) % 24).padStart(2, "0") + "h";
}

function count(n) {
  if (n === null || n === undefined) return "–";
  if (n >= 1e6) return (n / 1e6).toFixed(n < 1e7 ? 2 : 1) + "M";
  if (n >= 1e4) return (n / 1e3).toFixed(n < 1e5 ? 1 : 0) + "k";
  if (n >= 100 || Number.isInteger(n)) return String(Math.round(n));
  return n.toFixed(n < 10 ? 2 : 1).replace(/\.?0+$/, "") || "0";
}

// time returns a number and its unit.
function time(s) {
  if (s === null || s === undefined) return ["–", ""];
  const ms = s * 1e3;
  if (ms < 1) return [ms.toFixed(2), "ms"];
  if (ms < 10) return [ms.toFixed(1), "ms"];
  if (ms < 1000) return [ms.toFixed(0), "ms"];
  return [s.toFixed(s < 10 ? 2 : 1), "s"];
}
const timeText = (s) => time(s).join(" ").trim();
const plural = (n, what) => n + " " + what + (n === 1 ? "" : "s");
const bytes = (n) => (!n ? "–" : n < 1 << 30 ? (n / (1 << 20)).toFixed(n < 100 << 20 ? 1 : 0) + " MB" : (n / (1 << 30)).toFixed(2) + " GB");
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const heat = (age) => (age >= 10 ? "hot" : age >= 1 ? "warm" : "");

// --- charts ----------------------------------------------------------------

const most = 300; // samples, one a second
const least = 60; // that a chart has room for
let samples = [];
const room = () => Math.max(least, samples.length);
let pointed = null; // the sample under the pointer, from the end; null: none
let latest = null;

// card is a figure with its last minutes. lines are functions of a sample, the main one
// first; value says what it shows of the present, or of a sample.
function card(id, title, lines, value, low, bad) {
  const figure = el("span", { class: "figure" });
  const unit = el("small");
  const more = el("p", { class: "more" });
  const chart = svg("svg", { class: "chart" + (bad ? " bad" : ""), preserveAspectRatio: "none", role: "img" });
  const area = svg("path", { class: "area" });
  const paths = lines.map((_, i) => svg("path", i ? { class: "second" } : {}));
  const cross = svg("line", { y1: 0, y2: 100, visibility: "hidden" });
  chart.append(area, ...paths.toReversed(), cross);
  const box = el("article", { class: "card", id }, el("h3", { text: title }), el("p", { class: "value" }, figure, unit), more, chart);
  chart.addEventListener("pointermove", (e) => {
    const r = chart.getBoundingClientRect();
    pointed = Math.max(Math.round((1 - (e.clientX - r.left) / r.width) * (room() - 1)), 0);
    draw();
  });
  for (const end of ["pointerleave", "pointercancel"]) chart.addEventListener(end, () => { pointed = null; draw(); });
  $("cards").append(box);
  return () => {
    let top = low;
    const right = room() - 1;
    chart.setAttribute("viewBox", `0 0 ${right} 100`);
    for (const s of samples) for (const l of lines) top = Math.max(top, l(s) ?? 0);
    const y = (v) => 96 - (v / top) * 88;
    const start = right + 1 - samples.length;
    lines.forEach((l, i) => {
      let d = "", fill = "", from = null, pen = false;
      samples.forEach((s, k) => {
        const v = l(s), x = start + k;
        if (v === null || v === undefined) {
          if (pen && !i) fill += `L${x - 1} 100L${from} 100Z`;
          pen = false;
          return;
        }
        const at = `${x} ${y(v).toFixed(1)}`;
        if (!pen) {
          from = x;
          d += `M${at}h.01`;
          fill += `M${x} 100L${at}`;
        } else {
          d += "L" + at;
          fill += "L" + at;
        }
        pen = true;
      });
      if (pen) fill += `L${right} 100L${from} 100Z`;
      paths[i].setAttribute("d", d);
      if (!i) area.setAttribute("d", fill);
    });
    const s = pointed === null ? null : samples[samples.length - 1 - pointed];
    const shown = value(s);
    set(figure, shown[0]);
    set(unit, shown[1]);
    set(more, s ? clock(s.t) + (shown[3] ? " · " + shown[3] : "") : shown[2]);
    box.classList.toggle("hot", Boolean(shown[4]));
    cross.setAttribute("visibility", s ? "visible" : "hidden");
    if (s) {
      cross.setAttribute("x1", right - pointed);
      cross.setAttribute("x2", right - pointed);
    }
    chart.setAttribute("aria-label", `${title}, the last ${Math.max(1, Math.round(samples.length / 60))} min: now ${shown[0]} ${shown[1]}, at most ${id === "latency" || id === "wait" ? timeText(top) : count(top)}`);
  };
}

const none = { requests_per_second: 0, errors_per_second: 0, p50_seconds: null, p99_seconds: null, queue_wait_p99_seconds: null };
const now = () => latest?.traffic ?? none;
const peak = (of) => samples.reduce((m, s) => Math.max(m, of(s)), 0);
const charts = [
  card("requests", "Requests", [(s) => s.requests], (s) => [count(s ? s.requests : now().requests_per_second), "/s", "peak " + count(peak((x) => x.requests)) + "/s"], 1),
  card("latency", "Latency, p99 over p50", [(s) => s.p99, (s) => s.p50], (s) => {
    const [n, u] = time(s ? s.p99 : now().p99_seconds);
    const half = "p50 " + timeText(s ? s.p50 : now().p50_seconds);
    return [n, u, half, half];
  }, 1e-3),
  card("wait", "Wait for a thread, p99", [(s) => s.wait_p99], (s) => {
    const [n, u] = time(s ? s.wait_p99 : now().queue_wait_p99_seconds);
    const waiting = (s ? s.queue : latest?.queue.depth ?? 0) + " waiting";
    return [n, u, waiting, waiting];
  }, 1e-3),
  card("errors", "Errors (5xx)", [(s) => s.errors], (s) => {
    const e = s ? s.errors : now().errors_per_second, all = s ? s.requests : now().requests_per_second;
    const share = all > 0 && e > 0 ? ((100 * e) / all).toFixed(1) + " % of requests" : "none";
    return [count(e), "/s", share, share, e > 0];
  }, 1, true),
  card("busy", "Busy", [(s) => s.busy], (s) => {
    const all = latest?.threads.total ?? 0;
    const loops = (latest?.workers ?? []).filter((w) => w.loop);
    if (loops.length && !s) return [count(loops.reduce((n, w) => n + w.loop.tasks, 0)), " tasks", plural(loops.reduce((n, w) => n + w.loop.websockets, 0), "WebSocket")];
    return [count(s ? s.busy : latest?.threads.busy ?? 0), loops.length ? "" : "/ " + all + " threads", latest ? connections(latest.connections) + " connections" : ""];
  }, 1),
];
const connections = (c) => c.idle + c.reading + c.running + c.writing;
const draw = () => charts.forEach((c) => c());

// --- the panels ------------------------------------------------------------

function showHead(f) {
  const m = f.master;
  set($("app"), m.name || m.app);
  const state = m.stopping ? ["stopping", "warn"] : f.not_ready ? ["not ready", "bad"] : ["serving", "good"];
  set($("state"), state[0], "pill " + state[1]);
  $("state").title = f.not_ready ?? "";
  const about = [m.name ? m.app : "", "hostler " + m.version, "pid " + m.pid, "up " + span(m.uptime_seconds), "generation " + m.generation];
  set($("about"), about.filter(Boolean).join(" · "));
  banner(f.not_ready ? "Not ready: " + f.not_ready : "");
  document.title = `${f.not_ready ? "⚠ " : ""}${m.name || m.app} · ${count(now().requests_per_second)} req/s`;
}

function banner(text) {
  set($("banner"), text);
  $("banner").hidden = !text;
}

const columns = [["requests", "Requests"], ["queue", "Queue"], ["conns", "Conns"], ["cpu", "CPU"], ["memory", "Memory"], ["restarts", "Restarts"], ["since", "Age"]];
let used = new Map(); // CPU seconds by pid, a second ago

function showWorkers(f) {
  const m = f.master;
  const serving = f.workers.filter((w) => w.state === "serving").length;
  let note = `${serving} of ${m.target_workers} serve`;
  if (m.min_workers !== m.max_workers) note += `, ${m.min_workers} to ${m.max_workers} by need${m.workers_pinned ? " (held)" : ""}`;
  if (m.boot_failures) note += ` · ${plural(m.boot_failures, "failed boot")} in a row`;
  set($("workers-note"), note);
  const generations = Map.groupBy(f.workers, (w) => w.generation);
  keep($("workers"), [...generations.entries()].sort((a, b) => b[0] - a[0]), (g) => g[0],
    () => el("tbody", {}, el("tr", { class: "gen", "data-fixed": "" }, el("th", { scope: "rowgroup", colspan: 3 + columns.length }))),
    (body, [generation, workers]) => {
      set(body.querySelector("th"), `Generation ${generation}` + (generation < m.generation ? ", leaving" : generation > m.generation && m.generation ? ", to come" : ""));
      keep(body, workers.toSorted((a, b) => trouble(b) - trouble(a)), (w) => w.pid + "/" + w.worker, makeWorker, (row, w) => updateWorker(row, w, f));
    });
  used = new Map(f.workers.map((w) => [w.pid, [w.cpu_seconds, Date.parse(f.time)]]));
}

function makeWorker() {
  const row = el("tr", {}, el("td", { class: "who" }, el("b"), el("span")), el("td", { class: "state" }, el("span")),
    el("td", { class: "wide" }, el("div", { class: "threads" }, el("span", { class: "cells", role: "img" }), el("span"))));
  for (const [id, label] of columns) row.append(el("td", { class: "n " + id, "data-label": label }));
  return row;
}

const stateOf = (w) => (w.loop && w.loop.away_seconds >= 0.1 && w.state === "serving" ? "blocked" : w.state);
// trouble is 1 of a worker that one has to see first: of 32 a phone shows three at a time.
const trouble = (w) => Number(w.state === "frozen" || (w.loop?.away_seconds ?? 0) >= 1);

const tones = { serving: "good", booting: "warn", draining: "", frozen: "bad", blocked: "bad" };

function updateWorker(row, w, f) {
  const [who, state, wide] = row.children;
  set(who.firstChild, "#" + w.worker);
  set(who.lastChild, "pid " + w.pid);
  const name = stateOf(w);
  set(state.firstChild, name, "pill " + (tones[name] ?? ""));
  const busy = w.threads.filter((t) => t.request);
  const [cells, text] = wide.firstChild.children;
  const told = w.loop ? `${w.loop.tasks} tasks` + (w.loop.tasks_waiting ? `, ${w.loop.tasks_waiting} wait` : "") + (w.loop.websockets ? `, ${plural(w.loop.websockets, "WebSocket")}` : "")
    : `${busy.length} of ${w.threads.length}`;
  while (cells.children.length > w.threads.length) cells.lastChild.remove();
  while (cells.children.length < w.threads.length) cells.append(el("i"));
  w.threads.forEach((t, i) => {
    const r = t.request;
    const c = cells.children[i];
    set(c, "", r ? heat(r.age_seconds) || "busy" : "");
    c.title = r ? `${r.method} ${r.target}: ${span(r.age_seconds)}` : "idle";
  });
  cells.setAttribute("aria-label", w.loop ? told : told + " threads busy");
  set(text, told);
  const before = used.get(w.pid);
  const gone = before ? (Date.parse(f.time) - before[1]) / 1e3 : 0;
  const cpu = gone > 0 ? Math.round((100 * Math.max(0, w.cpu_seconds - before[0])) / gone) + " %" : row.querySelector(".cpu").textContent || "–";
  const values = { requests: count(w.requests), queue: count(w.queue.depth), conns: count(connections(w.connections)), cpu, memory: bytes(w.resident_memory_bytes), restarts: count(w.ended), since: span(w.age_seconds) };
  for (const td of row.querySelectorAll(".n")) set(td, values[td.classList[1]]);
}

const mostRunning = 50;

function showRunning(f) {
  const threads = f.workers.filter((w) => !w.loop), loops = f.workers.filter((w) => w.loop);
  const all = threads.flatMap((w) => w.threads.filter((t) => t.request).map((t) => ({ w, r: t.request, key: t.thread, by: `thread ${t.thread + 1}` })));
  const idle = threads.reduce((n, w) => n + w.threads.length, 0) - all.length;
  for (const w of loops) (w.loop.requests ?? []).forEach((r, i) => all.push({ w, r, key: "loop" + i, by: r.websocket ? "a WebSocket" : "" }));
  // A WebSocket is old because it is one: what somebody waits for comes first.
  all.sort((a, b) => Number(a.r.websocket ?? 0) - Number(b.r.websocket ?? 0) || b.r.age_seconds - a.r.age_seconds);
  const total = all.length + loops.reduce((n, w) => n + (w.loop.unseen ?? 0), 0);
  set($("running-note"), total > mostRunning ? `the oldest ${Math.min(mostRunning, all.length)} of ${total}` : threads.length ? plural(idle, "idle thread") : "");
  const list = $("running");
  if (!all.length) {
    keep(list, [0], () => "empty", () => el("li", { class: "empty none", text: "No request is running." }), () => {});
    return;
  }
  const shown = all.slice(0, mostRunning);
  const more = total - shown.length;
  keep(list, more > 0 ? [...shown, null] : shown, (x) => (x ? `${x.w.pid}/${x.key}` : "more"),
    (x) => x === null ? el("li", { class: "empty none" }) : el("li", {}, el("span", { class: "method" }), el("span", { class: "target" }), el("span", { class: "where" }), el("span", { class: "age" })),
    (li, x) => {
      if (x === null) return set(li, `and ${more} more`);
      const { w, r, by } = x;
      const [method, target, where, age] = li.children;
      set(method, r.method || "?");
      set(target, r.target || "(not known)");
      target.title = r.target;
      const about = [[`worker ${w.worker}`, by].filter(Boolean).join(", "), r.client, r.waits_for_client && !r.websocket ? "waits for its client" : ""];
      set(where, about.filter(Boolean).join(" · "));
      set(age, span(r.age_seconds), "age " + (r.websocket ? "" : heat(r.age_seconds)));
    });
}

const badKinds = /failed|died|frozen|deadlock|crash|boot_failed|killed/;
const goodKinds = /^(serving|reloaded|upgraded|restarted|worker_ready|boots_again|worker_thawed)$|mended/;
let events = [];

function showEvents(f) {
  if (f.events) events = f.events;
  const m = f.master;
  const ok = m.reloads.success ?? 0, failed = m.reloads.failure ?? 0;
  let text = ok + failed ? `${plural(ok + failed, "reload")}` + (failed ? `, ${failed} failed` : "") : "no reload yet";
  if (m.last_reload) text += ` · last ${span((Date.parse(f.time) - Date.parse(m.last_reload.time)) / 1e3)} ago`;
  set($("reloads"), text);
  const broken = m.last_reload && !m.last_reload.successful;
  $("reload-error").hidden = !broken;
  if (broken) {
    const [head, why] = $("reload-error").children;
    set(head, "The last reload failed at " + clock(m.last_reload.time) + "; the old workers serve on.");
    set(why, events.findLast((e) => e.kind === "reload_failed")?.text ?? "");
    why.hidden = !why.textContent;
  }
  const exits = Object.entries(m.worker_exits).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const chips = exits.map(([cause, n]) => [cause, n]);
  if (m.request_timeouts) chips.push(["requests timed out", m.request_timeouts]);
  const box = $("exits");
  box.hidden = !chips.length;
  keep(box, [["Workers that ended:", null], ...chips], (c) => c[0], (c) => (c[1] === null ? el("i", { text: c[0] }) : el("span", {}, c[0], el("b"))),
    (e, c) => { if (c[1] !== null) set(e.lastChild, count(c[1])); });
  if (!f.events) return;
  keep($("events"), events.toReversed(), (e) => [e.time, e.kind, e.worker ?? 0, e.pid ?? 0].join("/"),
    (e) => {
      const tone = badKinds.test(e.kind) ? "bad" : goodKinds.test(e.kind) ? "good" : "";
      const about = [e.worker ? `worker ${e.worker}` : "", e.pid ? `pid ${e.pid}` : "", [e.cause, e.text].filter(Boolean).join(": ")];
      return el("li", {}, el("time", { datetime: e.time, title: e.time, text: clock(e.time) }),
        el("span", {}, el("span", { class: "pill " + tone, text: e.kind.replaceAll("_", " ") })), el("span", { class: "told", text: about.filter(Boolean).join(" · ") }));
    }, () => {});
}

const locked = "Shown on loopback, on a Unix socket, or with --admin-token. On the machine: ";

async function showSlow() {
  const box = $("slow");
  const r = await fetch("status/slow");
  if (r.status === 403) {
    box.replaceChildren(el("p", { class: "empty" }, locked, el("code", { text: "hostler ctl slow" })));
    return;
  }
  if (!r.ok) return;
  const routes = (await r.json()).slice(0, 20);
  if (!routes.length) {
    keep(box, [0], () => "empty", () => el("p", { class: "empty", text: "No request has taken 10 ms yet." }), () => {});
    return;
  }
  keep(box, routes, (x) => x.route,
    () => el("details", {}, el("summary", {}, el("span", { class: "target" }), el("span", { class: "where" }), el("span", { class: "age" })), el("div", { class: "one" })),
    (d, { route, worst }) => {
      const [target, where, age] = d.firstChild.children;
      const s = worst[0].duration / 1e9;
      set(target, route);
      set(where, (worst[0].stack ? "stack · " : "") + (worst[0].status || "not ended"));
      set(age, timeText(s), "age " + heat(s));
      const state = JSON.stringify(worst);
      if (d.dataset.state === state) return;
      d.dataset.state = state;
      d.lastChild.replaceChildren(...worst.flatMap((q) => {
        const told = [timeText(q.duration / 1e9), q.target, clock(q.time), `worker ${q.worker}, pid ${q.pid}`, q.status || "not ended"];
        if (q.waited >= 1e6) told.push(`${timeText(q.waited / 1e9)} of it in the queue`);
        if (q.for_client >= 1e6) told.push(`${timeText(q.for_client / 1e9)} for its client`);
        const p = el("p", { text: told.join(" · ") });
        return q.stack ? [p, el("pre", { text: q.stack, tabindex: "0", label: "Stack of " + route })] : [p];
      }));
    });
}

let settings = [];

async function readSettings() {
  const r = await fetch("status/settings");
  const note = $("settings-note");
  if (r.status === 403) {
    note.replaceChildren(locked, el("code", { text: "hostler ctl config" }));
    note.hidden = false;
    $("settings").hidden = true;
    $("all").parentElement.hidden = true;
    $("profile").hidden = true;
    return;
  }
  if (!r.ok) return;
  settings = await r.json();
  showSettings();
}

function showSettings() {
  const shown = settings.filter((s) => s.origin || $("all").checked);
  keep($("settings"), shown, (s) => s.key, (s) => el("div", {}, el("dt", { text: s.key }), el("dd", {}, el("b"), el("span"))),
    (e, s) => {
      const value = (s.values ?? []).join(", ") || "–";
      const [text, origin] = e.lastChild.children;
      set(text, value);
      set(origin, s.origin || "default");
    });
  $("settings").hidden = !shown.length;
  $("settings-note").hidden = shown.length > 0;
  if (!shown.length) $("settings-note").textContent = "All are the defaults.";
}
$("all").addEventListener("change", showSettings);

// --- the stream ------------------------------------------------------------

let lastFrame = 0;
let generation = null;
let slowDue = 0;

function take(f) {
  latest = f;
  lastFrame = Date.now();
  for (const s of f.samples) if (!samples.length || s.t > samples[samples.length - 1].t) samples.push(s);
  if (samples.length > most) samples = samples.slice(-most);
  document.body.classList.add("alive");
  set($("contact"), "live");
  showHead(f);
  draw();
  showWorkers(f);
  showRunning(f);
  showEvents(f);
  const which = f.master.pid + "/" + f.master.generation;
  if (which !== generation) {
    generation = which;
    readSettings().catch(() => {});
  }
  if (lastFrame >= slowDue) {
    slowDue = lastFrame + 3000;
    showSlow().catch(() => {});
  }
}

function connect() {
  const source = new EventSource("status/events");
  source.onmessage = (e) => take(JSON.parse(e.data));
  source.onerror = () => {
    // The browser comes again by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

setInterval(() => {
  const silent = (Date.now() - lastFrame) / 1e3;
  if (silent < 3.5) return;
  document.body.classList.remove("alive");
  set($("contact"), lastFrame ? "no contact for " + span(silent) : "connecting");
  if (lastFrame) banner("The server does not answer: what is below is as it was.");
}, 1000);

draw();
connect();
