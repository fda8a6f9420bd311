// A run's report: every task as a bar in time, how long they took, what went wrong, what it cost.

import { count, get, h, icon, lang, refill, session, span, sums, t } from "./core.js";
import { empty, isGood, skeleton, stateWords } from "./parts.js";

const MOST = 5000, PAGE = 500;

/** Draw the report of `run` into `node`. */
export async function showReport(node, run) {
  refill(node, h("div.grid", skeleton(3, "wide")));
  const rows = [];
  for (let offset = 0; offset < Math.min(run.total, MOST); offset += PAGE) {
    const found = await get(`api/runs/${run.id}/rows?offset=${offset}&limit=${PAGE}`);
    rows.push(...found.rows);
    if (!found.rows.length) break;
  }
  const bars = rows.filter((row) => row.finished_at && row.seconds > 0).map((row) => ({ row, from: row.finished_at - row.seconds, to: row.finished_at }));
  const full = session.features.report && h("a.button", { href: `${run.urls.report}?lang=${lang()}`, target: "_blank", rel: "noopener" }, icon("chart"), h("span", t("完整报告（一个网页，可以发给别人）", "The full report (one page, to pass on)")));
  if (!bars.length) { refill(node, empty(t("还没有可画的", "Nothing to draw yet"), t("做完第一张就有了。", "It begins with the first finished picture."), run.done > 0 && full)); return; }
  bars.sort((a, b) => a.from - b.from);
  refill(node, figures(run, bars, rows), waterfall(bars), h("div.two", latencies(bars), errors(rows)), full && h("div.acts", full));
}

function figures(run, bars, rows) {
  const seconds = bars.map((bar) => bar.to - bar.from).sort((a, b) => a - b);
  const at = (share) => seconds[Math.min(seconds.length - 1, Math.floor(share * seconds.length))];
  const took = Math.max(...bars.map((bar) => bar.to)) - bars[0].from;
  const busy = bars.reduce((sum, bar) => sum + bar.to - bar.from, 0);
  const one = (value, words) => h("div.figure", h("b", value), h("span", words));
  return h("div.figures",
    one(count(rows.filter((row) => isGood(row.status)).length), t("张成了", "pictures")), one(span(took), t("从头到尾", "from first to last")),
    one(`${at(0.5).toFixed(1)} s`, t("中位用时", "median")), one(`${at(0.95).toFixed(1)} s`, "p95"),
    one((busy / Math.max(took, 1e-9)).toFixed(1), t("平均同时在做", "at a time, on average")), one(sums(run.money.spent) || "0", t("花费", "spent")));
}

/** Bars packed into lanes: a lane is free again when its bar has ended. */
function lanes(bars) {
  const ends = [];
  for (const bar of bars) {
    let lane = ends.findIndex((end) => end <= bar.from + 1e-6);
    if (lane < 0) lane = ends.push(0) - 1;
    ends[lane] = bar.to;
    bar.lane = lane;
  }
  return ends.length;
}

function waterfall(bars) {
  const number = lanes(bars), from = bars[0].from, to = Math.max(...bars.map((bar) => bar.to));
  const canvas = h("canvas", { role: "img", tabIndex: 0, "aria-label": t(`${bars.length} 个任务的瀑布图，同时最多 ${number} 个`, `Waterfall of ${bars.length} tasks, ${number} at a time at most`) });
  const said = h("p.soft", { "aria-live": "polite" }, t("把指针放到一条上看它是哪张。", "Point at a bar to see which picture it is."));
  const draw = () => {
    const width = canvas.clientWidth, lane = Math.max(3, Math.min(18, 420 / number)), high = Math.ceil(number * lane) + 26, ratio = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * ratio; canvas.height = high * ratio; canvas.style.height = `${high}px`;
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), x = (when) => ((when - from) / (to - from || 1)) * width;
    pen.scale(ratio, ratio);
    axis(pen, style, width, high, to - from, x, from);
    for (const bar of bars) {
      pen.fillStyle = style.getPropertyValue(isGood(bar.row.status) ? "--bar" : "--bad");
      pen.fillRect(x(bar.from), bar.lane * lane, Math.max(1.5, x(bar.to) - x(bar.from) - 1), lane - (lane > 5 ? 2 : 0.7));
    }
    canvas.onpointermove = (event) => {
      const at = from + (event.offsetX / width) * (to - from), row = Math.floor(event.offsetY / lane);
      const bar = bars.find((one) => one.lane === row && one.from <= at && at <= one.to);
      if (bar) said.textContent = `${bar.row.id || `#${bar.row.row}`} · ${bar.row.endpoint} · ${(bar.to - bar.from).toFixed(1)} s · ${stateWords(bar.row.status)} · ${bar.row.prompt.slice(0, 60)}`;
    };
  };
  new ResizeObserver(draw).observe(canvas);
  return h("section.panel", h("h2", t("瀑布图", "Waterfall")), canvas, said);
}

function axis(pen, style, width, high, total, x, from) {
  const step = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200].find((one) => total / one <= Math.max(3, width / 110)) || 14400;
  pen.font = "12px system-ui, sans-serif";
  for (let at = 0; at <= total; at += step) {
    pen.fillStyle = style.getPropertyValue("--line");
    pen.fillRect(x(from + at), 0, 1, high - 20);
    pen.fillStyle = style.getPropertyValue("--soft");
    if (x(from + at) < width - 40) pen.fillText(span(at), x(from + at) + 3, high - 5);
  }
}

function latencies(bars) {
  const seconds = bars.map((bar) => bar.to - bar.from), most = Math.max(...seconds), slots = 20;
  const counts = new Array(slots).fill(0);
  for (const one of seconds) counts[Math.min(slots - 1, Math.floor((one / most) * slots))] += 1;
  const top = Math.max(...counts);
  return h("section.panel", h("h2", t("每张用时", "Time of each")), h("div.histogram", { role: "img", "aria-label": t("用时分布", "Distribution of times") }, counts.map((n) => h("i", { title: count(n), style: { height: `${(n / top) * 100}%` } }))), h("p.soft.ends", h("span", "0 s"), h("span", `${most.toFixed(0)} s`)));
}

function errors(rows) {
  const found = new Map();
  for (const row of rows) if (!isGood(row.status) && row.status !== "pending") {
    const key = row.code || row.status;
    found.set(key, [(found.get(key)?.[0] || 0) + 1, row.error]);
  }
  return h("section.panel", h("h2", t("没成的原因", "Why some are without")), found.size ? h("ul.reasons", [...found].sort((a, b) => b[1][0] - a[1][0]).map(([code, [n, text]]) => h("li", h("b", count(n)), h("span", h("code", code), " ", text)))) : h("p.soft", t("全都成了。", "All of them worked.")));
}
