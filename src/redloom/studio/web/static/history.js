// What was made: notes by their covers, runs by their figures; searched as one types.

import { calm, count, get, h, icon, refill, sums, t, when } from "./core.js";
import { button, empty, failed, pill, runState, skeleton } from "./parts.js";
import { noteTile } from "./write.js";

export const title = () => t("历史", "History");

export async function show(main, parts, query) {
  const state = { what: parts[0] === "runs" ? "runs" : "notes", q: query.get("q") || "", turn: 0 };
  const list = h("div", { "aria-live": "polite" });
  const search = h("input", { type: "search", value: state.q, placeholder: t("找标题、正文、提示词", "Find in titles, bodies, prompts"), "aria-label": t("搜索", "Search"), oninput: calm((event) => { state.q = event.target.value.trim(); load(list, state); }, 250) });
  const tab = (what, words) => h("a", { href: `#/history${what === "runs" ? "/runs" : ""}`, "aria-current": state.what === what ? "page" : null }, words);
  refill(main, h("div.page", h("header.top", h("h1", t("历史", "History")), h("div.tabs", tab("notes", t("笔记", "Notes")), tab("runs", t("批次", "Runs"))), h("div.search", icon("search"), search)), list));
  await load(list, state);
}

async function load(list, state, before = "") {
  const mine = ++state.turn;
  if (!before) refill(list, h("div.grid.covers", skeleton(8)));
  const path = `api/${state.what}?limit=30&q=${encodeURIComponent(state.q)}${before ? `&before=${encodeURIComponent(before)}` : ""}`;
  try {
    const found = await get(path);
    if (mine !== state.turn) return;
    const items = found[state.what];
    if (!before && !items.length) { refill(list, nothing(state)); return; }
    if (!before) refill(list, state.what === "notes" ? h("div.grid.covers") : h("div.rows"));
    else list.querySelector(".acts.more")?.remove();
    const box = list.firstElementChild;
    for (const one of items) box.append(state.what === "notes" ? noteTile(one) : runLine(one));
    if (found.next) list.append(h("div.acts.more", button(t("更早的", "Older ones"), () => load(list, state, found.next))));
  } catch (error) {
    if (mine === state.turn) refill(list, failed(error, () => load(list, state, before)));
  }
}

function nothing(state) {
  if (state.q) return empty(t("没有找到", "Nothing found"), t(`没有哪一篇里有「${state.q}」。`, `Nothing holds “${state.q}”.`));
  if (state.what === "notes") return empty(t("还没有笔记", "No notes yet"), t("第一篇只要一个故事。", "The first one takes a story."), h("a.button.primary", { href: "#/" }, t("去写", "Write one")));
  return empty(t("还没有批次", "No runs yet"), t("一个表格，就是一批图。", "A spreadsheet becomes a run of pictures."), h("a.button.primary", { href: "#/batch" }, t("去上传", "Upload one")));
}

/** A run in a list. */
export function runLine(run) {
  const bad = run.done - (run.counts.ok || 0) - (run.counts.duplicate || 0);
  return h("a.line", { href: `#/run/${run.id}` },
    h("div", h("b", run.name || run.id), h("small", [when(run.created), run.kind, run.endpoints.join(", ")].filter(Boolean).join(" · "))),
    pill(runState(run)), h("span.figure", t(`${count(run.done)} / ${count(run.total)} 张`, `${count(run.done)} / ${count(run.total)}`), bad > 0 && h("em.bad", t(` · ${count(bad)} 张没成`, ` · ${count(bad)} without`))),
    h("span.figure", sums(run.money.spent)), icon("right"));
}
