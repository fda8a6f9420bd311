// Parts of pages: toasts, dialogs, counters, empty and error states, copy buttons.

import { amount, h, icon, refill, sums, t } from "./core.js";

/** Say something for a moment. */
export function toast(text, kind = "") {
  const box = document.getElementById("toasts");
  const one = h(`div.toast${kind ? `.${kind}` : ""}`, text);
  box.append(one);
  setTimeout(() => one.remove(), kind === "bad" ? 8000 : 3500);
}

/** Do something that may fail; the user hears why. Returns its result, or undefined. */
export async function attempt(action, button = null) {
  const held = button && document.activeElement === button; // a button that is shut loses the keyboard
  if (button) { button.disabled = true; button.setAttribute("aria-busy", "true"); }
  try {
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, "bad");
    return undefined;
  } finally {
    if (button) { button.disabled = false; button.removeAttribute("aria-busy"); }
    if (held && document.activeElement === document.body) button.focus({ preventScroll: true });
  }
}

export function button(label, onclick, { kind = "", sign = "", ...props } = {}) {
  return h(`button${kind ? `.${kind.split(" ").join(".")}` : ""}`, { type: "button", onclick, ...props }, sign && icon(sign), h("span", label));
}

/** A round button with a sign and a name for readers. */
export function signButton(sign, label, onclick, props = {}) {
  return h("button.round", { type: "button", title: label, "aria-label": label, onclick, ...props }, icon(sign));
}

/** The words for nothing being there yet. */
export function empty(title, text, ...actions) {
  return h("section.empty", h("div.loom", { "aria-hidden": "true" }), h("h2", title), h("p", text), h("div.acts", ...actions));
}

/** The words for what went wrong, with a way on. */
export function failed(error, again) {
  return h("section.empty.bad", { role: "alert" }, icon("warn"), h("h2", t("没能打开", "This did not open")), h("p", error.message),
    again && h("div.acts", button(t("再试一次", "Try again"), again, { kind: "primary", sign: "redo" })));
}

/** Grey shapes where cards will be. */
export const skeleton = (number, kind = "card") => Array.from({ length: number }, () => h(`div.ghost.${kind}`, { "aria-hidden": "true" }));

/** A modal dialog, closed by Esc, its button, or a click beside it; focus returns where it was. */
export function dialog(kind, label, build) {
  const box = h(`dialog.${kind}`, { "aria-label": label });
  const close = () => box.close();
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => { if (event.target === box) close(); });
  refill(box, build(close, box));
  document.body.append(box);
  box.showModal();
  return box;
}

/** ← and → while a dialog is open, wherever the focus is but in a field. */
export function arrows(box, step) {
  const hear = (event) => {
    if (event.target.matches?.("input,textarea,select") || event.altKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };
  document.addEventListener("keydown", hear);
  box.addEventListener("close", () => document.removeEventListener("keydown", hear));
}

/** Ask before something that cannot be taken back, or that costs. Resolves to true or false. */
export function sure(question, detail, yes, kind = "primary") {
  return new Promise((resolve) => {
    let answer = false;
    const box = dialog("ask", question, (close) => [
      h("h2", question), detail && h("p", detail),
      h("div.acts", button(t("先不", "Not now"), close), button(yes, () => { answer = true; close(); }, { kind })),
    ]);
    box.addEventListener("close", () => resolve(answer));
  });
}

/** A button that copies what `text()` gives; `name` tells readers which one it is. */
export function copyButton(label, text, name = label) {
  const said = h("span", label);
  const made = h("button.copy", { type: "button", "aria-label": name, onclick: async () => {
    const ok = await copy(text());
    said.textContent = ok ? t("已复制", "Copied") : t("请手动复制", "Copy by hand");
    made.setAttribute("aria-label", said.textContent);
    setTimeout(() => { said.textContent = label; made.setAttribute("aria-label", name); }, 1600);
  } }, icon("copy"), said);
  return made;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // plain http off loopback has no clipboard
    const area = h("textarea", { value: text, className: "aside" });
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

/** "12/20", red when over. */
export function meter(node, length, most) {
  node.textContent = `${length}/${most}`;
  node.classList.toggle("over", length > most);
  return node;
}

/** A title's length as the platform counts it: ASCII 1, any other UTF-16 unit 2, halved, rounded up. */
export function titleLength(title) {
  let n = 0;
  for (let at = 0; at < title.length; at++) n += title.charCodeAt(at) < 128 ? 1 : 2;
  return Math.ceil(n / 2);
}

/** A labelled field with a hint. */
export function field(label, input, hint = "") {
  const id = input.id || `f${Math.random().toString(36).slice(2, 9)}`;
  const inner = input.matches?.("input,select,textarea") ? input : input.querySelector("input,select,textarea");
  if (inner) inner.id = id;
  return h("div.field", h("label", { htmlFor: id }, label), input, hint && h("small", hint));
}

/** One of several, as buttons in a row. `choices`: [[value, label]…]. */
export function choice(label, choices, value, change) {
  const box = h("div.choice", { role: "radiogroup", "aria-label": label });
  const name = `c${Math.random().toString(36).slice(2, 9)}`;
  refill(box, choices.map(([one, text]) => h("label", h("input", { type: "radio", name, checked: one === value, onchange: () => change(one) }), h("span", text))));
  return box;
}

/** Words for a row's or a picture's state. */
export function stateWords(status, stage) {
  if (status === "pending") return {
    waiting: t("排队等候", "waiting"), sent: t("已提交", "submitted"), running: t("正在画", "painting"),
    fetching: t("取图中", "fetching"), retrying: t("稍后再试", "trying again"), doubt: t("核对中", "being settled"),
  }[stage || "waiting"] || stage;
  return {
    ok: t("完成", "done"), duplicate: t("重复", "duplicate"), invalid: t("有误", "invalid"), refused: t("被拒", "refused"),
    failed: t("失败", "failed"), "in-doubt": t("存疑", "in doubt"), cancelled: t("已取消", "cancelled"), unpaid: t("预算外", "over budget"),
  }[status] || status;
}

export const isGood = (status) => status === "ok" || status === "duplicate";

/** Words and colour for a run's state. */
export function runState(run) {
  const pending = run.counts?.pending || 0;
  if (run.state === "open" && run.carried === "nobody") return ["idle", t("没人接手", "nobody works on it")];
  return {
    open: pending ? ["live", t("进行中", "under way")] : ["live", t("收尾中", "finishing")],
    paused: ["idle", t("已暂停", "paused")], cancelled: ["idle", t("已取消", "cancelled")],
    waiting: ["warn", t("等你处理", "waits for you")], done: ["done", t("已完成", "done")],
  }[run.state] || ["idle", run.state];
}

export const pill = ([kind, words]) => h(`span.pill.${kind}`, words);

/** Money that may have been spent: for what is under way now, or for answers that were lost. */
export function maybeWords(money, busy) {
  const sum = sums(money?.maybe);
  if (!sum) return "";
  return busy ? t(`在途最多 ${sum}`, `up to ${sum} under way`) : t(`存疑 ${sum}`, `${sum} in doubt`);
}

/** An estimate as the API gives it. */
export function estimateWords(estimate) {
  if (!estimate) return "";
  const total = Object.entries(estimate.total || {}).filter(([, n]) => n);
  const sum = total.map(([code, n]) => amount(n, code)).join(" + ");
  if (estimate.unknown) return t(`${sum ? `约 ${sum}，另有 ` : ""}${estimate.unknown} 张价格未知`, `${sum ? `about ${sum}, and ` : ""}${estimate.unknown} of unknown price`);
  return sum ? t(`约 ${sum}`, `about ${sum}`) : t("不花钱", "free");
}

/** Thumbs and "used" for a picture; `opinion` is changed in place. */
export function opinions(opinion, sha256, put) {
  const box = h("div.opinions", { role: "group", "aria-label": t("这张怎么样", "What do you think of it") });
  const all = [
    ["thumbup", t("好", "good"), () => opinion.thumb === 1, () => ({ thumb: opinion.thumb === 1 ? 0 : 1 })],
    ["thumbdown", t("不好", "bad"), () => opinion.thumb === -1, () => ({ thumb: opinion.thumb === -1 ? 0 : -1 })],
    ["star", t("用上了", "used"), () => Boolean(opinion.used), () => ({ used: !opinion.used })],
  ];
  const draw = () => all.forEach(([, , on], at) => box.children[at].setAttribute("aria-pressed", String(on())));
  refill(box, all.map(([sign, label, , change]) => h("button.opinion", { type: "button", onclick: async () => {
    const told = await attempt(() => put({ sha256, ...change() }));
    if (told) { Object.assign(opinion, told); draw(); }
  } }, icon(sign), h("span", label))));
  draw();
  return box;
}
