// What is at work now: pause, resume, cancel, and what goes first.

import { count, get, h, keyed, listen, post, refill, span, sums, t, when } from "./core.js";
import { attempt, empty, pill, runState, signButton, sure } from "./parts.js";

const WAITING = ["open", "paused", "waiting"];

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
    if (WAITING.includes(data.run.state)) runs.set(data.run.id, data.run); else runs.delete(data.run.id);
    draw();
  }, (open) => { line.hidden = open; });
  return () => events.close();
}

function drawQueue(list, summary, runs) {
  const all = [...runs.values()].sort((a, b) => b.priority - a.priority || a.created - b.created);
  const left = all.reduce((sum, run) => sum + (run.counts.pending || 0), 0);
  summary.textContent = all.length ? t(`${all.length} 批，还有 ${count(left)} 张`, `${all.length} runs, ${count(left)} pictures to go`) : "";
  if (!all.length) { refill(list, empty(t("队列是空的", "The queue is empty"), t("没有正在做的，也没有暂停的。", "Nothing is under way and nothing is paused."), h("a.button.primary", { href: "#/" }, t("写笔记", "Write a note")), h("a.button", { href: "#/batch" }, t("传一批", "Upload a batch")))); return; }
  const put = (told) => { runs.set(told.id, told); if (!WAITING.includes(told.state)) runs.delete(told.id); drawQueue(list, summary, runs); };
  const known = new Map([...list.children].map((one) => [one.dataset.run, one])), jobs = all.map((run) => known.get(run.id) || h("article.job", { data: { run: run.id } }, h("div.text"), h("span.now"), h("div.measure"), h("div.order"), h("div.acts")));
  if (jobs.length !== list.childElementCount || jobs.some((one, at) => one !== list.children[at])) refill(list, jobs);
  jobs.forEach((one, at) => item(one, all[at], put));
}

/** Draw what changed of a run: its buttons stay in place while its figures move. */
function item(node, run, put) {
  const name = run.name || run.id, [text, now, measure, place, acts] = node.children;
  const order = (verb, body) => async (event) => { const told = await attempt(() => post(`api/runs/${run.id}/${verb}`, body), event?.currentTarget); if (told) put(told); };
  const act = (sign, label, onclick) => signButton(sign, label, onclick, { "aria-label": t(`${label}：${name}`, `${label}: ${name}`) });
  const running = run.state === "open" && run.carried !== "nobody";
  const held = run.held?.map((one) => h("em.warn", t(`${one.endpoint} 在等配额：${one.reason}`, `${one.endpoint} waits for quota: ${one.reason}`)));
  const about = [when(run.created), run.endpoints.join(", "), run.waits_for].filter(Boolean).join(" · ");
  keyed(text, name + about, h("a", { href: `#/run/${run.id}` }, h("b", name)), h("p.soft", about));
  refill(now, pill(runState(run)));
  refill(measure, h("div.progress", { role: "progressbar", "aria-valuenow": run.total ? Math.round((run.done / run.total) * 100) : 0, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": name }, h("i", { style: { width: `${run.total ? (run.done / run.total) * 100 : 0}%` } })),
    h("p.soft", [`${count(run.done)} / ${count(run.total)}`, run.in_flight > 0 && t(`${run.in_flight} 张在途`, `${run.in_flight} in flight`), run.pace && t(`还要 ${span(run.pace.eta_s)}`, `${span(run.pace.eta_s)} left`), sums(run.money.spent)].filter(Boolean).join(" · ")), held);
  keyed(place, String(run.priority), h("small", t("优先", "Priority")), act("up", t("往前", "Sooner"), order("priority", { priority: Math.min(100, run.priority + 10) })), h("b", String(run.priority)), act("down", t("往后", "Later"), order("priority", { priority: Math.max(-100, run.priority - 10) })));
  keyed(acts, String(running), running ? act("pause", t("暂停", "Pause"), order("pause")) : act("play", t("继续", "Resume"), order("resume")),
    act("stop", t("取消", "Cancel"), async () => { if (await sure(t(`取消“${name}”？`, `Cancel “${name}”?`), t("还没提交的不再提交；已经付钱的会收完。", "What was not sent is not sent; what is paid for is fetched."), t("取消它", "Cancel it"), "danger")) await order("cancel")(); }));
}
