// What is at work now: pause, resume, cancel, and what goes first.

import { count, get, h, icon, listen, post, refill, span, sums, t, when } from "./core.js";
import { attempt, empty, pill, runState, signButton, sure } from "./parts.js";

export const title = () => t("队列", "Queue");

export async function show(main) {
  const runs = new Map(), list = h("div.queue"), line = h("p.offline", { hidden: true, role: "status" }, t("和服务器断开了，正在重连。", "The line to the server is broken; reconnecting."));
  const summary = h("p.soft");
  refill(main, h("div.page", h("header.top", h("h1", t("队列", "Queue")), summary), line, list));
  const draw = () => drawQueue(list, summary, runs);
  const load = async () => {
    const found = await get("api/runs?state=open,paused,waiting&limit=200");
    runs.clear();
    for (const run of found.runs) runs.set(run.id, run);
    draw();
  };
  await load();
  const events = listen("api/events", (name, data) => {
    if (name === "snapshot") load().catch(() => {});
    if (name !== "run" || !data.run) return;
    if (["open", "paused", "waiting"].includes(data.run.state)) runs.set(data.run.id, data.run); else runs.delete(data.run.id);
    draw();
  }, (open) => { line.hidden = open; });
  return () => events.close();
}

function drawQueue(list, summary, runs) {
  const all = [...runs.values()].sort((a, b) => b.priority - a.priority || a.created - b.created);
  const left = all.reduce((sum, run) => sum + (run.counts.pending || 0), 0);
  summary.textContent = all.length ? t(`${all.length} 批，还有 ${count(left)} 张`, `${all.length} runs, ${count(left)} pictures to go`) : "";
  if (!all.length) { refill(list, empty(t("队列是空的", "The queue is empty"), t("没有正在做的，也没有暂停的。", "Nothing is under way and nothing is paused."), h("a.button.primary", { href: "#/" }, t("写笔记", "Write a note")), h("a.button", { href: "#/batch" }, t("传一批", "Upload a batch")))); return; }
  refill(list, all.map((run) => item(run, (told) => { runs.set(told.id, told); if (!["open", "paused", "waiting"].includes(told.state)) runs.delete(told.id); drawQueue(list, summary, runs); })));
}

function item(run, put) {
  const order = (verb, body) => async (event) => { const told = await attempt(() => post(`api/runs/${run.id}/${verb}`, body), event?.currentTarget); if (told) put(told); };
  const running = run.state === "open" && run.carried !== "nobody";
  const held = run.held?.map((one) => h("em.warn", t(`${one.endpoint} 在等配额：${one.reason}`, `${one.endpoint} waits for quota: ${one.reason}`)));
  return h("article.job",
    h("div.text", h("a", { href: `#/run/${run.id}` }, h("b", run.name || run.id)), h("p.soft", [when(run.created), run.endpoints.join(", "), run.waits_for].filter(Boolean).join(" · "))),
    pill(runState(run)),
    h("div.measure", h("div.progress", { role: "progressbar", "aria-valuenow": run.total ? Math.round((run.done / run.total) * 100) : 0, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": run.name || run.id }, h("i", { style: { width: `${run.total ? (run.done / run.total) * 100 : 0}%` } })),
      h("p.soft", [`${count(run.done)} / ${count(run.total)}`, run.in_flight > 0 && t(`${run.in_flight} 张在途`, `${run.in_flight} in flight`), run.pace && t(`还要 ${span(run.pace.eta_s)}`, `${span(run.pace.eta_s)} left`), sums(run.money.spent)].filter(Boolean).join(" · ")), held),
    h("div.order", h("small", t("优先", "Priority")), signButton("up", t("往前", "Sooner"), order("priority", { priority: Math.min(100, run.priority + 10) })), h("b", String(run.priority)), signButton("down", t("往后", "Later"), order("priority", { priority: Math.max(-100, run.priority - 10) }))),
    h("div.acts", running ? signButton("pause", t("暂停", "Pause"), order("pause")) : signButton("play", t("继续", "Resume"), order("resume")),
      signButton("stop", t("取消", "Cancel"), async () => { if (await sure(t("取消这一批？", "Cancel this run?"), t("还没提交的不再提交；已经付钱的会收完。", "What was not sent is not sent; what is paid for is fetched."), t("取消它", "Cancel it"), "danger")) await order("cancel")(); })));
}
