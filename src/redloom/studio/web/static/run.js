// One run: how far it is, what it cost, its pictures as they come, and its waterfall.

import { amount, api, calm, count, get, h, icon, keyed, left, listen, post, refill, span, sums, t, when } from "./core.js";
import { attempt, button, empty, maybeWords, pill, runState, stateWords, sure } from "./parts.js";
import { Gallery } from "./gallery.js";
import { openViewer } from "./viewer.js";
import { showReport } from "./report.js";

export const title = () => t("批次", "Run");

export async function show(main, [id, what]) {
  const run = await get(`api/runs/${encodeURIComponent(id)}`);
  const page = new RunPage(main, run, what);
  await page.start();
  return () => page.end();
}

const FILTERS = ["", "ok", "bad", "pending", "duplicate", "refused", "failed", "in-doubt", "invalid", "unpaid", "cancelled"];

class RunPage {
  constructor(main, run, what) {
    this.run = run;
    this.filter = "";
    this.q = "";
    this.stages = new Map();
    this.held = new Map();
    this.what = what === "report" ? "report" : "pictures";
    this.told = h("div");
    this.acts = h("div.acts");
    this.head = h("header.top.runhead", this.told, this.acts);
    this.meter = h("div.progress", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"), h("i.bad"));
    this.facts = h("p.facts-line", { "aria-live": "off" });
    this.line = h("p.offline", { hidden: true, role: "status" }, t("和服务器断开了，正在重连；做好的都在。", "The line to the server is broken; reconnecting. What is done is safe."));
    this.chips = h("nav.chips", { "aria-label": t("按状态筛选", "Filter by state") });
    this.inner = h("div");
    refill(main, h("div.page.runpage", this.head, this.line, this.meter, this.facts, this.inner));
    this.soon = calm(() => this.renew(true).catch(() => {}), 600);
  }

  async start() {
    this.drawHead();
    this.events = listen(`api/runs/${this.run.id}/events`, (name, data) => this.hear(name, data), (open) => { this.line.hidden = open; });
    this.clock = setInterval(() => this.drawFacts(), 1000);
    if (this.what === "report") await showReport(this.inner, this.run);
    else await this.openGallery();
  }

  end() {
    this.events?.close();
    this.gallery?.stop();
    clearInterval(this.clock);
  }

  async openGallery() {
    const search = h("input", { type: "search", placeholder: t("找提示词或编号", "Find words or an id"), "aria-label": t("搜索", "Search"), oninput: calm((event) => { this.q = event.target.value.trim(); this.renew(); }, 250) });
    this.none = h("div");
    this.gallery = new Gallery({
      load: (offset, limit) => get(`api/runs/${this.run.id}/rows?offset=${offset}&limit=${limit}&status=${this.filter}&q=${encodeURIComponent(this.q)}`),
      draw: (cell, row) => this.cell(cell, row), height: (width) => width * 4 / 3 + 58, open: (index) => this.open(index),
    });
    refill(this.inner, h("div.toolbar", this.chips, h("div.search", icon("search"), search)), this.none, this.gallery.node);
    this.drawChips();
    this.gallery.start();
    await this.renew();
  }

  async renew(keep = false) {
    if (!this.gallery) return;
    await this.gallery.renew(keep);
    const none = this.gallery.total === 0;
    refill(this.none, none && (this.run.total
      ? empty(t("这里没有", "Nothing here"), t("没有符合筛选的图片。", "No picture matches the filter."), button(t("看全部", "Show all"), () => this.pick("")))
      : empty(t("还在读", "Reading"), t("行读进来就会出现在这里。", "Rows appear here as they are read."))));
  }

  // what is heard

  hear(name, data) {
    if (name === "snapshot") {
      this.stages = new Map((data.active || []).map((one) => [`${one.row}_${one.take}`, one.stage]));
      if (data.run) this.take(data.run);
      if (this.again) this.soon();
      this.again = true;
    } else if (name === "run") this.take(data.run);
    else if (name === "money") { this.run.money = data.money; this.drawFacts(); }
    else if (name === "progress") this.moved(data);
    else if (name === "complete" || name === "error") this.ended(data);
    else if (name === "held") this.held.set(data.endpoint, data.until);
    else if (name === "finish") get(`api/runs/${this.run.id}`).then((run) => this.take(run)).catch(() => {});
  }

  take(run) {
    if (run.total > this.gallery?.total && !this.filter && !this.q) this.soon(); // rows are still being read
    this.run = { ...this.run, ...run };
    for (const one of run.held || []) this.held.set(one.endpoint, one.until);
    this.drawHead();
    this.drawChips();
  }

  moved(data) {
    this.stages.set(`${data.row}_${data.take}`, data.stage);
    this.gallery?.update({ row: data.row, take: data.take, stage: data.stage, preview: data.preview && `${data.preview}?${data.fraction}` });
  }

  ended(data) {
    this.stages.delete(`${data.row.row}_${data.row.take}`);
    const known = this.gallery?.update(data.row);
    if (this.filter || (!known && this.gallery)) this.soon();
  }

  // what is drawn

  drawHead() {
    const { run } = this, bad = this.bad();
    const live = run.state === "open" && run.carried !== "nobody";
    const order = (verb) => async (event) => { const told = await attempt(() => post(`api/runs/${run.id}/${verb}`), event.currentTarget); if (told) this.take(told); };
    const over = run.state === "done" || run.state === "cancelled";
    const about = [when(run.created), run.endpoints.join(", "), run.waits_for].filter(Boolean).join(" · ");
    refill(this.told, h("h1", run.name || run.id), h("p.soft", pill(runState(run)), ` ${about}`));
    keyed(this.acts, [run.state, live, over, bad].join("|"),
      live && !over && button(t("暂停", "Pause"), order("pause"), { sign: "pause" }),
      (run.state === "paused" || run.state === "waiting" || run.carried === "nobody") && !over && button(t("继续", "Resume"), order("resume"), { kind: "primary", sign: "play" }),
      !over && button(t("取消", "Cancel"), async (event) => { const from = event; if (await sure(t(`取消“${run.name || run.id}”？`, `Cancel “${run.name || run.id}”?`), t("还没提交的不再提交；已经付钱的会收完。", "What was not sent is not sent; what is paid for is fetched."), t("取消它", "Cancel it"), "danger")) await order("cancel")({ currentTarget: from.target }); }, { sign: "stop" }),
      bad > 0 && button(t(`重试 ${count(bad)} 张`, `Retry ${count(bad)}`), order("retry"), { sign: "redo" }),
      h("a.button", { href: `#/run/${run.id}${this.what === "report" ? "" : "/report"}` }, icon(this.what === "report" ? "batch" : "chart"), h("span", this.what === "report" ? t("图片", "Pictures") : t("报告", "Report"))),
      h("a.button", { href: run.urls.manifest, download: "" }, "CSV"),
      h("a.button.primary", { href: run.urls.zip, download: "" }, icon("download"), h("span", "ZIP")));
    this.drawFacts();
  }

  bad() {
    return ["refused", "failed", "in-doubt", "invalid", "unpaid", "cancelled"].reduce((sum, name) => sum + (this.run.counts[name] || 0), 0);
  }

  drawFacts() {
    const { run } = this, bad = this.bad(), good = run.done - bad;
    const [bar, badBar] = this.meter.children;
    bar.style.width = `${run.total ? (good / run.total) * 100 : 0}%`;
    badBar.style.width = `${run.total ? (bad / run.total) * 100 : 0}%`;
    this.meter.setAttribute("aria-valuenow", run.total ? Math.round((run.done / run.total) * 100) : 0);
    this.meter.setAttribute("aria-label", t("进度", "Progress"));
    const money = run.money, spent = sums(money.spent) || t("没花钱", "nothing spent");
    const held = [...this.held.entries()].map(([name, until]) => [name, left(until)]).filter(([, seconds]) => seconds > 0);
    const facts = [
      h("b", `${count(run.done)} / ${count(run.total)}`), run.in_flight > 0 && t(`${run.in_flight} 张在途`, `${run.in_flight} in flight`),
      run.pace && t(`每分钟 ${Math.round(run.pace.per_minute * 10) / 10} 张`, `${Math.round(run.pace.per_minute * 10) / 10} a minute`), run.pace && t(`还要约 ${span(run.pace.eta_s)}`, `about ${span(run.pace.eta_s)} left`),
      `${spent}${money.budget ? ` / ${amount(money.budget, money.currency)}` : ""}`, maybeWords(money, run.in_flight > 0), money.unpriced > 0 && t(`${money.unpriced} 张价格未知`, `${money.unpriced} unpriced`),
      ...held.map(([name, seconds]) => h("em.warn", t(`${name} 等配额 ${seconds} 秒`, `${name}: quota in ${seconds} s`))),
    ].filter(Boolean);
    refill(this.facts, facts.flatMap((one, at) => (at ? [h("span.dot", " · "), one] : [one])));
  }

  drawChips() {
    const { counts, total } = this.run, bad = this.bad();
    refill(this.chips, FILTERS.map((name) => {
      const number = name === "" ? total : name === "bad" ? bad : counts[name] || 0;
      if (name && !number && name !== this.filter) return null;
      const words = name === "" ? t("全部", "All") : name === "bad" ? t("没成的", "Without") : name === "pending" ? t("待做", "To do") : stateWords(name);
      return h("button.chip", { type: "button", "aria-pressed": String(this.filter === name), onclick: () => this.pick(name) }, words, h("b", count(number)));
    }));
  }

  pick(name) {
    this.filter = name;
    this.drawChips();
    this.renew();
  }

  cell(cell, row) {
    if (!row) { cell.className = "cell ghost"; cell.replaceChildren(); return; }
    const stage = row.status === "pending" ? this.stages.get(`${row.row}_${row.take}`) || row.stage || "waiting" : null;
    cell.className = `cell ${row.status}${stage ? ` ${stage}` : ""}`;
    cell.setAttribute("aria-label", `${row.row}. ${row.prompt.slice(0, 80)}. ${stateWords(row.status, stage)}`);
    const words = row.status !== "ok" && h("span.pill", { className: `pill ${row.status === "pending" ? (stage === "waiting" ? "idle" : "live") : row.status === "duplicate" ? "idle" : "bad"}` }, stateWords(row.status, stage));
    refill(cell, h("div.frame", row.picture ? h("img", { src: row.picture.thumb, alt: "", decoding: "async", draggable: "false" }) : row.status === "pending" ? (row.preview ? h("img", { src: row.preview, alt: "", decoding: "async", draggable: "false" }) : h("div.loom", { "aria-hidden": "true" })) : h("p", row.error), words, row.feedback?.used && h("span.mark", icon("star"))),
      h("p.words", row.prompt), h("small", [row.id || `#${row.row}`, row.seconds && `${Math.round(row.seconds)} s`, row.flags.length && `⚠ ${row.flags[0]}`].filter(Boolean).join(" · ")));
  }

  open(index) {
    if (!this.gallery.rows.has(index)) return;
    openViewer({ index, row: (at) => this.gallery.row(at), total: () => this.gallery.total, left: (at) => this.gallery.look(at) });
  }
}
