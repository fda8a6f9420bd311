// What every page uses: elements, words in two languages, the API, its events.

// ---- language -------------------------------------------------------------------------------

/** "zh" or "en". */
export const lang = () => (document.documentElement.lang === "en" ? "en" : "zh");
/** The words in the language of the page. */
export const t = (zh, en) => (lang() === "en" ? en : zh);

export function setLang(value) {
  document.documentElement.lang = value === "en" ? "en" : "zh-CN";
  keep("redloom.lang", value);
}

/** Keep a small thing in this browser; where storage is off it is simply forgotten. */
export function keep(key, value) {
  try {
    if (value === null || value === "") localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch { /* forgotten */ }
}

export function kept(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

// ---- elements -------------------------------------------------------------------------------

/** An element: h("div.card", {onclick, "aria-label": "…"}, children…). Text is never markup. */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  const props = isPlain(rest[0]) ? rest.shift() : {};
  for (const [name, value] of Object.entries(props)) put(element, name, value);
  fill(element, rest);
  return element;
}

const isPlain = (x) => x !== null && typeof x === "object" && !Array.isArray(x) && !(x instanceof Node);

function put(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (PROPERTIES.has(name)) element[name] = value;
  else element.setAttribute(name, value === true ? "" : value);
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "indeterminate", "readOnly", "className", "htmlFor", "tabIndex"]);

/** Append children; nothing for null, false, undefined. */
export function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Put other children in. The keyboard stays at the control of the same name, else at the button in its place. */
export function refill(element, ...children) {
  const had = element.contains(document.activeElement) && document.activeElement !== element ? document.activeElement : null;
  const at = had ? [...element.querySelectorAll(had.localName)].indexOf(had) : -1;
  element.replaceChildren();
  fill(element, children);
  if (!had) return element;
  const like = [...element.querySelectorAll(had.localName)];
  const next = element.contains(had) ? had : like.find((one) => known(one) === known(had)) || (had.localName === "button" && like[at]);
  if (next) next.focus({ preventScroll: true });
  return element;
}

/** Refill only when `key` is another than last time: what is being clicked is not drawn away under the finger. */
export function keyed(element, key, ...children) {
  if (element.dataset.key === key) return element;
  element.dataset.key = key;
  return refill(element, ...children);
}

const known = (one) => one.getAttribute("aria-label") || one.getAttribute("href") || one.textContent || `${one.name}=${one.value}`;

const PATHS = {
  write: "M4 20h4L19 9l-4-4L4 16v4M13 7l4 4",
  history: "M4 5v5h5M4.5 10a8 8 0 1 1-.4 4M12 8v4.5l3 2",
  batch: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  queue: "M4 6h16M4 12h10M4 18h6M17 13v7l4-3.5z",
  endpoints: "M12 3v5M7 8h10v4a5 5 0 0 1-10 0zM12 17v4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  close: "M6 6l12 12M18 6L6 18",
  left: "M14 6l-6 6 6 6", right: "M10 6l6 6-6 6", up: "M6 14l6-6 6 6", down: "M6 10l6 6 6-6",
  plus: "M12 5v14M5 12h14", check: "M5 12.5l4.5 4.5L19 7.5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  redo: "M20 5v5h-5M19.5 10a8 8 0 1 0 .4 4",
  pause: "M8 5v14M16 5v14", play: "M7 5l12 7-12 7z", stop: "M6 6h12v12H6z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  phone: "M7 3h10v18H7zM11 18h2", trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  thumbup: "M7 11v9H4v-9zM7 11l4-8c1.5 0 2.5 1 2.5 2.5V9H19a1.5 1.5 0 0 1 1.5 1.8l-1.4 7.5A2 2 0 0 1 17 20H7",
  thumbdown: "M7 13V4H4v9zM7 13l4 8c1.5 0 2.5-1 2.5-2.5V15H19a1.5 1.5 0 0 0 1.5-1.8l-1.4-7.5A2 2 0 0 0 17 4H7",
  star: "M12 4l2.4 5 5.6.7-4.1 3.8 1.1 5.5-5-2.8-5 2.8 1.1-5.5L4 9.7 9.6 9z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
  text: "M5 6V5h14v1M12 5v14M9 19h6", warn: "M12 4L2.5 20h19zM12 10v4M12 17h.01",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  chart: "M4 5h7M7 10h9M11 15h9M5 20h6", file: "M6 3h8l5 5v13H6zM14 3v5h5", grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  brush: "M14 5l5 5-7 7-5-5zM7 12c-3 0-3 4-5 6 4 1 8 0 8-3",
};

/** A drawn sign; decoration, so it is hidden from readers. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name] || PATHS.more);
  svg.append(path);
  return svg;
}

// ---- the API --------------------------------------------------------------------------------

/** An error that the API told, with its words. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message || `HTTP ${status}`);
    Object.assign(this, { status, code: error.code || "", param: error.param || "", spent: error.spent || "no" });
  }
}

/** Nothing answered. */
export const offline = () => new ApiError(0, { message: t("连不上服务器。它可能正在重启；已经付过钱的不会丢。", "The server does not answer. It may be restarting; nothing paid for is lost."), code: "offline" });

export const session = { signed_in: false, csrf: "", limits: {}, features: {}, clock: { now: Date.now() / 1000, speed: 1 } };
let heard = Date.now();

/** What the server said of who we are; its clock runs on from here. */
export function enter(told) {
  Object.assign(session, told);
  heard = Date.now();
}

/** The server's time, Unix seconds; it may run faster than ours (see REDLOOM_CLOCK_SPEED). */
export const nominal = () => session.clock.now + ((Date.now() - heard) / 1000) * session.clock.speed;
/** Whole seconds of the server's time until then. */
export const left = (until) => Math.max(0, Math.ceil((until || 0) - nominal()));
export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;
/** Called when the server says 401; the shell shows the door. */
export const door = { show: () => {} };

/** Ask the API. Returns its JSON (null for 204). Throws ApiError; status 0 when nothing answered. */
export async function api(method, path, body, more = {}) {
  const headers = { "X-Redloom-Lang": lang(), "X-Redloom-CSRF": session.csrf || "", Accept: "application/json" };
  if (more.key) headers["Idempotency-Key"] = more.key;
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address(path), {
      method, headers, signal: more.signal, credentials: "same-origin",
      body: body === undefined ? undefined : isForm ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw offline();
  }
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const error = new ApiError(answer.status, said.error || {});
  if (answer.status === 401 && !more.quiet) door.show();
  throw error;
}

export const get = (path, more) => api("GET", path, undefined, more);
export const post = (path, body = {}, more) => api("POST", path, body, more);
/** A key that makes a POST that may spend safe to send again. */
export const freshKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

// ---- events ---------------------------------------------------------------------------------

const NAMES = ["snapshot", "progress", "complete", "error", "held", "stopped", "money", "run", "note", "picture", "finish"];

/**
 * Listen to a stream of events until `close()`. It reconnects for ever: the browser by itself while
 * the line only breaks, we where it has given up (the server said 503 or 502), from the last id that
 * was seen. `hear(name, data)` gets every event, `line(open)` whether we are connected.
 */
export function listen(path, hear, line = () => {}) {
  let source = null, last = "", timer = 0, wait = 500, closed = false;
  const open = () => {
    if (closed) return;
    const url = new URL(address(path));
    url.searchParams.set("lang", lang());
    if (last) url.searchParams.set("after", last);
    source = new EventSource(url);
    source.addEventListener("open", () => { wait = 500; line(true); });
    for (const name of NAMES) source.addEventListener(name, (event) => {
      if (event.lastEventId) last = event.lastEventId;
      if (typeof event.data !== "string") return;
      const data = JSON.parse(event.data);
      if (data.now) { session.clock.now = data.now; heard = Date.now(); }
      hear(name, data);
    });
    source.onerror = (event) => {
      if (event.data !== undefined) return; // the API's own event of this name
      line(false);
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(timer);
        timer = setTimeout(open, wait);
        wait = Math.min(wait * 2, 8000);
      }
    };
  };
  const seen = () => { // a browser keeps six connections to a server: tabs that nobody sees give theirs back
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => source?.close(), 30000);
    else if (source?.readyState === EventSource.CLOSED) open();
  };
  document.addEventListener("visibilitychange", seen);
  open();
  return { close() { closed = true; clearTimeout(timer); source?.close(); document.removeEventListener("visibilitychange", seen); } };
}

// ---- figures --------------------------------------------------------------------------------

const SIGNS = { CNY: "¥", USD: "$", EUR: "€", JPY: "JP¥" };

/** Sums by currency: "¥1.20 + $0.04"; empty where there are none. */
export function sums(money) {
  return Object.entries(money || {}).filter(([, n]) => n).map(([code, n]) => amount(n, code)).join(" + ");
}

export function amount(n, code) {
  const digits = Math.abs(n) < 0.1 && n ? 3 : 2;
  return `${SIGNS[code] ?? `${code} `}${n.toFixed(digits)}`;
}

export const count = (n) => Number(n || 0).toLocaleString("en-US");

/** Seconds for people. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t(`${s} 秒`, `${s} s`);
  if (s < 3600) return t(`${Math.floor(s / 60)} 分 ${s % 60} 秒`, `${Math.floor(s / 60)} min ${s % 60} s`);
  return t(`${Math.floor(s / 3600)} 小时 ${Math.round((s % 3600) / 60)} 分`, `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`);
}

/** A point in time for people, shorter the nearer it is. */
export function when(unix) {
  const date = typeof unix === "number" ? new Date(unix * 1000) : new Date(unix);
  if (Number.isNaN(date.getTime())) return "";
  const same = date.toDateString() === new Date().toDateString();
  const clock = date.toLocaleTimeString(lang() === "en" ? "en-GB" : "zh-CN", { hour: "2-digit", minute: "2-digit" });
  if (same) return t(`今天 ${clock}`, `today ${clock}`);
  const day = date.toLocaleDateString(lang() === "en" ? "en-GB" : "zh-CN", { month: "short", day: "numeric" });
  return `${day} ${clock}`;
}

/** Call `f` once nothing has asked for it for `ms`. */
export function calm(f, ms) {
  let timer = 0;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };
}
