// Where pictures are made: keys (masked), prices, limits published and learnt, what was kept.

import { amount, count, get, h, icon, post, refill, session, sums, t } from "./core.js";
import { attempt, button, empty } from "./parts.js";
import { tokens } from "./tokens.js";

export const title = () => t("端点", "Endpoints");

export async function show(main) {
  const list = h("div.endpoints"), money = h("div.figures");
  refill(main, h("div.page", h("header.top", h("h1", t("端点", "Endpoints")), h("p.soft", t("图在哪里画、什么价、限多快、留下来多少。", "Where pictures are made, at what price, how fast, and how many are kept."))), money, list, h("div.opinion-table"), session.features.tokens && tokens()));
  const load = async () => drawAll(list, await get("api/endpoints"));
  await load();
  get("api/feedback").then((told) => drawFeedback(main.querySelector(".opinion-table"), told.models)).catch(() => {});
  if (session.role === "admin") get("api/money").then((told) => drawMoney(money, told)).catch(() => {});
  const clock = setInterval(() => { if (!document.hidden && !main.querySelector("[aria-busy]")) load().catch(() => {}); }, 5000);
  return () => clearInterval(clock);
}

function drawMoney(node, told) {
  const one = (words, value) => h("div.figure", h("b", sums(value) || "0"), h("span", words));
  refill(node, one(t("今天", "today"), told.today), one(t("本月", "this month"), told.month), one(t("一共", "in all"), told.total), sums(told.maybe) && one(t("存疑", "in doubt"), told.maybe));
}

function drawAll(list, told) {
  const shown = told.endpoints.slice().sort((a, b) => Number(b.in_use) - Number(a.in_use) || Number(b.ready) - Number(a.ready) || a.name.localeCompare(b.name));
  if (!shown.length) { refill(list, empty(t("一个端点都没有", "No endpoints"), t("设一个密钥的环境变量再启动，例如 DASHSCOPE_API_KEY。", "Set a key in the environment and start again, DASHSCOPE_API_KEY for one."))); return; }
  const tests = new Map([...list.querySelectorAll("[data-endpoint]")].map((one) => [one.dataset.endpoint, one.querySelector(".tested")?.textContent]));
  refill(list, shown.map((one) => item(one, tests.get(one.name))));
}

function item(one, tested) {
  const state = one.now?.stopped ? ["bad", t("停了", "stopped")] : !one.ready ? ["idle", t("缺密钥", "no key")] : !one.in_use ? ["idle", t("未启用", "not in use")] : one.now?.until ? ["warn", t("等配额", "held")] : ["done", t("可用", "ready")];
  const said = h("span.tested.soft", { role: "status" }, tested || "");
  const test = button(t("测试连接", "Test"), async (event) => {
    const told = await attempt(() => post(`api/endpoints/${encodeURIComponent(one.name)}/test`), event.currentTarget);
    if (told) { said.textContent = `${told.ok ? "✓" : "✗"} ${told.text}（${told.seconds} s）`; said.classList.toggle("bad", !told.ok); }
  }, { sign: "check", "aria-label": t(`测试连接：${one.name}`, `Test: ${one.name}`) });
  return h(`article.endpoint${one.in_use ? "" : ".off"}`, { data: { endpoint: one.name } },
    h("header", h("div", h("h2", one.name), h("p.soft", [one.label !== one.name && one.label, one.model].filter(Boolean).join(" · "))), one.default && h("span.pill.done", t("默认", "default")), h(`span.pill.${state[0]}`, state[1])),
    one.now?.stopped && h("p.say.bad", one.now.stopped),
    h("dl.facts", facts(one).flatMap(([key, value]) => [h("dt", key), h("dd", value)])),
    one.record?.made > 0 && h("div.record", record(one.record)),
    h("div.acts", test, said));
}

function facts(one) {
  const key = one.free ? t("不需要", "none needed") : one.key?.present ? `${one.key.variable} ${one.key.masked}` : one.key?.variable ? t(`没有设置 ${one.key.variable}`, `${one.key.variable} is not set`) : "—";
  const price = one.free ? t("免费", "free") : one.price?.amount ? `${amount(one.price.amount, one.price.currency)}${one.price.as_of ? t(`（${one.price.as_of} 的价目）`, ` (as of ${one.price.as_of})`) : ""}` : t("未知", "unknown");
  const limits = one.published || {}, now = one.now;
  return [
    [t("密钥", "Key"), key], [t("价格", "Price"), price],
    [t("公布的限制", "Published"), [limits.submit_per_second && t(`每秒提交 ${limits.submit_per_second}`, `${limits.submit_per_second} submits/s`), limits.concurrency && t(`同时 ${limits.concurrency}`, `${limits.concurrency} at a time`), limits.poll_per_second && t(`每秒查询 ${limits.poll_per_second}`, `${limits.poll_per_second} polls/s`)].filter(Boolean).join(" · ") || t("没有", "none")],
    now && [t("学到的", "Learnt"), [now.rate && t(`每秒 ${now.rate.toFixed(2)}`, `${now.rate.toFixed(2)}/s`), now.slots && t(`${now.slots} 个位子`, `${now.slots} slots`), now.median_s && t(`中位 ${now.median_s.toFixed(1)} 秒`, `median ${now.median_s.toFixed(1)} s`)].filter(Boolean).join(" · ") || t("还没有", "nothing yet")],
    now && [t("此刻", "Now"), [t(`${now.outstanding} 张在途`, `${now.outstanding} in flight`), now.refusals > 0 && t(`被拒 ${now.refusals} 次`, `${now.refusals} refusals`)].filter(Boolean).join(" · ")],
    [t("地址", "Address"), one.base_url || t("本机", "this machine")],
  ].filter(Boolean);
}

function record(told) {
  const one = (value, words) => h("span", h("b", value), words);
  return [
    one(count(told.made), t(" 张", " made")), told.failed > 0 && one(count(told.failed), t(" 次失败", " failed")), one(sums(told.spent) || "0", ""),
    h("span", icon("thumbup"), h("b", count(told.up))), h("span", icon("thumbdown"), h("b", count(told.down))), h("span", icon("star"), h("b", count(told.used))),
    told.up + told.down + told.used > 0 && told.kept_share !== null && told.kept_share !== undefined && one(`${Math.round(told.kept_share * 100)}%`, t(" 留用", " kept")),
    sums(told.price_per_kept) && one(sums(told.price_per_kept), t(" 每张留用", " per kept one")),
  ];
}

function drawFeedback(node, models) {
  const judged = (models || []).filter((one) => one.up || one.down || one.used);
  if (!judged.length) return;
  refill(node, h("section.panel", h("h2", t("做了什么，留了什么，什么价", "What was made, what was kept, at what price")), h("div.scroll", h("table", h("thead", h("tr", [t("端点", "Endpoint"), t("模型", "Model"), t("做了", "Made"), t("好", "Good"), t("不好", "Bad"), t("用上", "Used"), t("留用率", "Kept"), t("花费", "Spent"), t("每张留用", "Per kept")].map((word) => h("th", word)))),
    h("tbody", judged.map((one) => h("tr", h("td", one.endpoint), h("td", one.model), [one.made, one.up, one.down, one.used].map((n) => h("td.number", count(n))), h("td.number", one.kept_share === null ? "" : `${Math.round(one.kept_share * 100)}%`), h("td.number", sums(one.spent)), h("td.number", sums(one.price_per_kept)))))))));
}
