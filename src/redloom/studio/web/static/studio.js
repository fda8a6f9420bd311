// The shell: who is in, which page is shown, the bar that leads between them.

import { address, api, door, enter, get, h, icon, keep, kept, lang, offline, refill, session, setLang, t } from "./core.js";
import { attempt, failed, skeleton } from "./parts.js";
import * as write from "./write.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");

/** Pages by the first part of the address after `#/`. Each has `title()` and `show(main, parts, query)`, which returns how to leave it. */
const PAGES = new Set(["note", "history", "batch", "run", "queue", "endpoints"]);
let misses = 0;

async function load(name) {
  if (!PAGES.has(name)) return write;
  try {
    return await import(`./${name}.js${misses ? `?again=${misses}` : ""}`);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    misses++; // a browser may remember a failed import by its address
    throw offline();
  }
}

const BAR = [
  ["", "write", () => t("写笔记", "Write")],
  ["history", "history", () => t("历史", "History")],
  ["batch", "batch", () => t("批量", "Batch")],
  ["queue", "queue", () => t("队列", "Queue")],
  ["endpoints", "endpoints", () => t("端点", "Endpoints")],
];
const BELONGS = { note: "history", run: "queue" };

let leave = null, turn = 0;

/** Show the page that the address names. */
async function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map(decodeURIComponent);
  const mine = ++turn;
  if (leave) { leave(); leave = null; }
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
  drawNav(BELONGS[parts[0]] ?? parts[0]);
  refill(main, h("div.page", h("div.grid", skeleton(6))));
  try {
    const page = await load(parts[0]);
    if (mine !== turn) return;
    document.title = `${page.title()} · Redloom`;
    main.replaceChildren();
    const ended = await page.show(main, parts.slice(1), new URLSearchParams(search));
    if (mine === turn) leave = ended || null; else ended?.();
    if (mine === turn && mine > 1 && document.activeElement === document.body) main.focus({ preventScroll: true });
  } catch (error) {
    if (mine === turn && error.status !== 401) refill(main, failed(error, route));
  }
  window.scrollTo(0, 0);
}

function drawNav(active) {
  refill(nav,
    h("a.brand", { href: "#/", "aria-label": t("Redloom 红织，首页", "Redloom, home") },
      h("img", { src: address("static/mark.svg") + `?v=${document.body.dataset.version}`, alt: "", width: 28, height: 28 }),
      h("span", h("b", "Redloom"), h("small", t("红织", "text to notes")))),
    h("div.links", BAR.map(([name, sign, words]) => h("a", { href: `#/${name}`, "aria-current": name === active ? "page" : null }, icon(sign), h("span", words())))),
    h("div.foot", lookButton(), langButton(), outButton()));
}

function lookButton() {
  const order = ["auto", "light", "dark"], now = document.documentElement.dataset.look;
  const words = { auto: t("跟随系统", "like the system"), light: t("浅色", "light"), dark: t("深色", "dark") };
  return h("button.round", { type: "button", title: words[now], "aria-label": t(`颜色：${words[now]}`, `Colours: ${words[now]}`), onclick: () => {
    const next = order[(order.indexOf(now) + 1) % 3];
    document.documentElement.dataset.look = next;
    keep("redloom.look", next);
    redraw();
  } }, icon({ auto: "auto", light: "sun", dark: "moon" }[now]));
}

function langButton() {
  return h("button.lang", { type: "button", lang: lang() === "zh" ? "en" : "zh", onclick: () => { setLang(lang() === "zh" ? "en" : "zh"); redraw(); route(); } }, lang() === "zh" ? "EN" : "中文");
}

function outButton() {
  if (!session.csrf || !session.signed_in || session.name === "local") return null;
  return h("button.lang", { type: "button", onclick: () => attempt(async () => { await api("DELETE", "api/session"); location.reload(); }) }, t("退出", "Sign out"));
}

function redraw() {
  const [name] = location.hash.replace(/^#\/?/, "").split(/[/?]/);
  document.querySelector("[data-skip]").textContent = t("跳到正文", "Skip to content");
  drawNav(BELONGS[name] ?? name);
}

/** The door, for a server that wants a token. */
function askToken() {
  if (leave) { leave(); leave = null; }
  turn++;
  const input = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const said = h("p.bad", { role: "alert" });
  refill(main, h("section.door", h("img", { src: address("static/mark.svg"), alt: "", width: 56, height: 56 }),
    h("h1", t("请输入口令", "Enter the token")),
    h("p", t("这个工作室从网络上也能打开，所以要口令。它在启动 redloom serve 时由 --token 设定。", "This studio can be reached over the network, so it wants a token: the one that redloom serve was started with (--token).")),
    h("form", { onsubmit: async (event) => {
      event.preventDefault();
      try {
        enter(await api("POST", "api/session", { token: input.value }, { quiet: true }));
        route();
      } catch (error) { said.textContent = error.message; input.select(); }
    } }, h("label", { htmlFor: "token" }, t("口令", "Token")), input, h("button.primary", { type: "submit" }, t("进入", "Enter")), said)));
  input.focus();
}

async function start() {
  door.show = askToken;
  redraw();
  try {
    enter(await get("api/session"));
  } catch (error) {
    refill(main, failed(error, start));
    return;
  }
  if (!kept("redloom.lang")) keep("redloom.lang", lang());
  window.addEventListener("hashchange", route);
  if (session.signed_in) await route(); else askToken();
}

document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
start();
