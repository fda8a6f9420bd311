// One card, large: ← → Esc; its words (free), its picture (priced), its place on the cover.

import { amount, get, h, icon, refill, t } from "./core.js";
import { arrows, button, dialog, opinions, signButton } from "./parts.js";

/** `note()` gives the note as it is now, `edit(path, body)` changes it. */
export function openCard({ note, n, edit, opinion }) {
  let at = n, text = null;
  const view = h("div.big"), side = h("div.side"), name = h("h2");
  const box = dialog("sheet", t("卡片", "Card"), (close) => [
    h("header", signButton("left", t("上一张", "Previous"), () => step(-1)), name, signButton("right", t("下一张", "Next"), () => step(1)), signButton("close", t("关闭", "Close"), close, { className: "round end" })),
    h("div.inside", view, side)]);
  const step = (by) => { const next = at + by; if (next >= 1 && next <= note().cards.length) { at = next; draw(); } };
  arrows(box, step);
  const change = async (path, body, done) => {
    box.setAttribute("aria-busy", "true");
    const ok = await edit(path, body);
    box.removeAttribute("aria-busy");
    if (ok && done === "close") box.close(); else if (ok) draw();
  };

  function draw() {
    const now = note(), card = now.cards[at - 1];
    if (!card) { box.close(); return; }
    name.textContent = `${card.kind === "cover" ? t("封面", "Cover") : t(`第 ${card.n} 张`, `Card ${card.n}`)} · ${at}/${now.cards.length}`;
    refill(view, h("img", { src: card.url, alt: card.text, width: card.width, height: card.height }));
    refill(side, wordsPart(now, card), picturePart(now, card), h("div.acts", h("a.button", { href: card.url, download: card.file }, icon("download"), h("span", t("下载这张", "Download")))));
  }

  function wordsPart(now, card) {
    const area = h("textarea.md", { rows: 9, disabled: true, placeholder: t("打开中……", "Opening…"), "aria-label": t("这张卡片上的字", "The words on this card") });
    const save = button(t("换上这些字", "Use these words"), () => change(`pages/${card.n}`, { text: area.value }), { kind: "primary", sign: "check", disabled: true });
    area.addEventListener("input", () => { save.disabled = area.value === text; });
    get(`api/notes/${now.id}/pages/${card.n}`).then((page) => {
      if (!area.isConnected) return;
      text = area.value = page.markdown || "";
      area.disabled = !text && card.kind === "picture";
      const prompt = side.querySelector("textarea.prompt");
      if (prompt && page.prompt) prompt.value = page.prompt;
    }).catch((error) => { area.placeholder = error.message; });
    return h("section", h("div.heading", h("h3", t("改字", "Words")), h("small.free", t("不花钱，别的卡片不动", "free; the other cards stay"))), area, h("div.acts", save));
  }

  function picturePart(now, card) {
    const picture = now.pictures.find((one) => one.row === card.picture);
    if (!card.picture) return null;
    const words = h("textarea.prompt", { rows: 4, value: picture?.prompt || "", "aria-label": t("画什么", "What to paint") });
    const price = picture?.price ? t(`约 ${amount(picture.price, picture.currency)} 一张`, `about ${amount(picture.price, picture.currency)}`) : t("按端点的价格", "at the endpoint's price");
    return h("section", h("div.heading", h("h3", t("重画配图", "Another picture")), h("small", price)),
      words,
      h("div.acts", button(t("重画这张", "Redraw"), () => change(`pages/${card.n}`, { prompt: words.value.trim() === (picture?.prompt || "").trim() ? "" : words.value }, "close"), { kind: "primary", sign: "redo" }),
        card.kind !== "cover" && button(t("拿去做封面", "Put on the cover"), () => change("cover", { picture: card.picture }, "close"), { sign: "image" })),
      picture?.sha256 && opinions(picture.feedback || (picture.feedback = { thumb: 0, used: false }), picture.sha256, opinion));
  }

  draw();
  return box;
}
