// One picture of a run, large, with what is known of it. ← → Esc.

import { amount, api, h, icon, refill, t } from "./core.js";
import { arrows, copyButton, dialog, isGood, opinions, signButton, stateWords } from "./parts.js";

/** `row(index)` resolves to the row there; `total()` is how many there are; `left(index)` hears where one stopped. */
export function openViewer({ index, row, total, left }) {
  let at = index, turn = 0;
  const view = h("div.big"), side = h("div.side"), name = h("h2");
  const box = dialog("sheet", t("大图", "Picture"), (close) => [
    h("header", signButton("left", t("上一张", "Previous"), () => step(-1)), name, signButton("right", t("下一张", "Next"), () => step(1)), signButton("close", t("关闭", "Close"), close, { className: "round end" })),
    h("div.inside", view, side)]);
  box.addEventListener("close", () => left?.(at));
  const step = (by) => { if (at + by >= 0 && at + by < total()) { at += by; draw(); } };
  arrows(box, step);

  async function draw() {
    const mine = ++turn, one = await row(at);
    if (mine !== turn || !one) return;
    name.textContent = `${one.id || `#${one.row}`}${one.take > 1 ? `_${one.take}` : ""} · ${at + 1}/${total()}`;
    refill(view, one.picture ? h("img", { src: one.picture.url, alt: one.prompt, width: one.picture.width, height: one.picture.height }) : h("div.empty.bad", icon("warn"), h("h2", stateWords(one.status, one.stage)), h("p", one.error)));
    refill(side, facts(one));
  }

  draw();
  return box;
}

function facts(one) {
  const real = one.picture ? `${one.picture.width}×${one.picture.height}` : "";
  const pairs = [
    [t("状态", "State"), stateWords(one.status, one.stage)], [t("端点", "Endpoint"), one.endpoint], [t("模型", "Model"), one.model],
    [t("要的尺寸", "Asked size"), one.size?.replace("x", "×")], [t("实际尺寸", "Real size"), real], [t("种子", "Seed"), one.seed],
    [t("用时", "Took"), one.seconds ? `${one.seconds.toFixed(1)} s` : ""], [t("尝试", "Tries"), one.attempts || ""],
    [t("价格", "Price"), !one.currency || one.price === null || one.price === "" ? "" : `${amount(Number(one.price), one.currency)}（${sourceWords(one.price_source)}）`],
    [t("疑点", "Doubts"), one.flags.join(", ")], ...Object.entries(one.extra || {}),
  ].filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return [
    h("section", h("div.heading", h("h3", t("提示词", "Prompt")), copyButton(t("复制", "Copy"), () => one.prompt)), h("p.text", one.prompt)),
    one.revised_prompt && one.revised_prompt !== one.prompt && h("section", h("h3", t("服务改写成", "The service made of it")), h("p.text", one.revised_prompt)),
    one.error && isGood(one.status) && h("p.say", one.error),
    h("dl.facts", pairs.map(([key, value]) => [h("dt", key), h("dd", String(value))])),
    one.picture && opinions(one.feedback || (one.feedback = { thumb: 0, used: false }), one.picture.sha256, (body) => api("PUT", "api/feedback", body)),
    one.picture && h("div.acts", h("a.button", { href: one.picture.url, download: "" }, icon("download"), h("span", t("下载", "Download")))),
  ];
}

const sourceWords = (source) => ({ reported: t("服务报告", "reported"), estimated: t("估算", "estimated"), unknown: t("未知", "unknown") }[source] || source);
