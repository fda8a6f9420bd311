// The outline as it waits for edits: titles, cover, pages in their order, pictures, words.

import { amount, calm, get, h, icon, refill, t } from "./core.js";
import { attempt, button, field, meter, signButton, titleLength, toast } from "./parts.js";

/** What the API takes as `images`. */
export const MOST_PICTURES = 9;

export class Outline {
  /** `acts.save(outline)` keeps it, `acts.make(outline)` makes the note of it. */
  constructor(note, acts) {
    this.acts = acts;
    this.plan = structuredClone(note.outline);
    this.saved = h("span.soft", { role: "status" });
    this.cost = h("span.estimate");
    this.price = null;
    if (note.settings.offline) this.price = { amount: 0 }; else this.findPrice(note.settings.endpoint?.[0]);
    this.save = calm(() => this.keep(), 900);
    this.pages = h("div.pages");
    this.pictures = h("div.pictures");
    const begin = button(t("就按这个做", "Make it"), (event) => attempt(() => acts.make(this.clean()), event.currentTarget), { kind: "primary", sign: "play" });
    this.node = h("div.outline",
      h("section", h("h2", t("标题", "Title")), this.titles()),
      h("section", h("h2", t("封面上的字", "On the cover")), this.cover()),
      h("section", h("div.heading", h("h2", t("内页", "Pages")), h("small.soft", t("Markdown；拖动或用箭头换顺序", "Markdown; drag, or use the arrows"))), this.pages,
        button(t("加一页", "Add a page"), () => { this.plan.pages.push(""); this.drawPages(this.plan.pages.length - 1); this.changed(); }, { sign: "plus" })),
      h("section", h("div.heading", h("h2", t("配图", "Pictures")), h("small.soft", t("删掉一张就少花一张的钱", "each one that you delete is one less to pay for"))), this.pictures,
        button(t("加一张", "Add one"), () => this.addPicture(), { sign: "plus" })),
      h("section", h("h2", t("发布用的文字", "Words to post")), this.words()),
      h("div.footbar", this.saved, this.cost, begin));
    this.drawPages();
    this.drawPictures();
    this.drawCost();
  }

  changed() {
    this.saved.textContent = t("……", "…");
    this.drawCost();
    this.save();
  }

  /** What a picture costs where it would be made. */
  async findPrice(name) {
    const told = await get("api/endpoints").catch(() => null);
    const place = told?.endpoints.find((one) => one.name === (name || told.default));
    this.price = place?.free ? { amount: 0 } : place?.price || null;
    this.drawCost();
  }

  drawCost() {
    const n = this.plan.pictures.filter((one) => one.prompt.trim()).length;
    const each = this.price?.amount, sum = each ? t(` · 约 ${amount(each * n, this.price.currency)}`, ` · about ${amount(each * n, this.price.currency)}`) : each === 0 ? t(" · 不花钱", " · free") : "";
    refill(this.cost, t(`${n} 张配图${n ? sum : " · 不花钱"}`, `${n} pictures${n ? sum : " · free"}`));
  }

  /** What can be sent: nothing empty where the API wants words. */
  clean() {
    const plan = this.plan, pages = plan.pages.map((text, at) => [text, at + 1]).filter(([text]) => text.trim());
    const moved = new Map(pages.map(([, was], at) => [was, at + 1]));
    return {
      ...plan, pages: pages.map(([text]) => text), titles: plan.titles.filter((one) => one.text.trim()),
      pictures: plan.pictures.filter((one) => one.prompt.trim()).map((one) => ({ ...one, page: one.purpose === "cover" ? 0 : moved.get(one.page) || 1 })),
      tags: plan.tags.filter(Boolean),
    };
  }

  async keep() {
    if (!this.node.isConnected) return;
    try {
      await this.acts.save(this.clean());
      this.saved.textContent = t("改动已保存", "Saved");
    } catch (error) { this.saved.textContent = error.message; }
  }

  titles() {
    const list = h("ol.choices");
    const draw = () => refill(list, this.plan.titles.map((one, at) => {
      const length = meter(h("small.meter"), titleLength(one.text), 20);
      return h("li", h("input", { type: "radio", name: "first", checked: at === 0, "aria-label": t("用这个标题", "Use this title"), onchange: () => {
        this.plan.titles.unshift(...this.plan.titles.splice(at, 1));
        draw(); this.changed();
      } }), h("input.text", { value: one.text, maxlength: 100, "aria-label": t(`标题 ${at + 1}`, `Title ${at + 1}`), oninput: (event) => { one.text = event.target.value; meter(length, titleLength(one.text), 20); this.changed(); } }), length);
    }));
    draw();
    return list;
  }

  cover() {
    const one = (name, label) => field(label, h("input", { value: this.plan.cover[name] || "", maxlength: 200, oninput: (event) => { this.plan.cover[name] = event.target.value; this.changed(); } }));
    return h("div.fields", one("title", t("大字", "Headline")), one("subtitle", t("副题", "Subtitle")), one("kicker", t("角标", "Kicker")));
  }

  words() {
    const bodyMeter = meter(h("small.meter"), this.plan.body.length, 1000);
    return h("div", field(t("正文", "Body"), h("textarea", { value: this.plan.body, rows: 7, oninput: (event) => { this.plan.body = event.target.value; meter(bodyMeter, this.plan.body.length, 1000); this.changed(); } })), bodyMeter,
      field(t("标签", "Tags"), h("input", { value: this.plan.tags.join(" "), oninput: (event) => { this.plan.tags = event.target.value.split(/[\s#，,]+/).filter(Boolean); this.changed(); } }), t("用空格隔开，最多 10 个", "separated by spaces, 10 at most")));
  }

  // pages

  drawPages(focus = -1) {
    refill(this.pages, this.plan.pages.map((text, at) => this.page(text, at)));
    if (focus >= 0) this.pages.children[focus]?.querySelector("textarea").focus();
  }

  page(text, at) {
    const last = this.plan.pages.length - 1;
    const area = h("textarea", { value: text, rows: Math.min(12, Math.max(4, Math.ceil(text.length / 30) + text.split("\n").length)), "aria-label": t(`第 ${at + 1} 页`, `Page ${at + 1}`), oninput: (event) => { this.plan.pages[at] = event.target.value; this.changed(); } });
    const grip = h("span.grip", { draggable: "true", title: t("拖动", "Drag"), ondragstart: (event) => { this.dragged = at; event.dataTransfer.effectAllowed = "move"; event.dataTransfer.setData("text/plain", ""); } }, icon("grip"));
    return h("article.leaf", { ondragover: (event) => { if (this.dragged !== undefined) event.preventDefault(); }, ondrop: (event) => { event.preventDefault(); this.move(this.dragged, at); this.dragged = undefined; } },
      h("div.side", grip, h("b", String(at + 1))), area,
      h("div.side", signButton("up", t("上移", "Up"), () => this.move(at, at - 1), { disabled: at === 0 }), signButton("down", t("下移", "Down"), () => this.move(at, at + 1), { disabled: at === last }),
        signButton("trash", t("删掉这页", "Delete this page"), () => this.drop(at), { disabled: last === 0 })));
  }

  move(from, to) {
    if (from === undefined || from === to || to < 0 || to >= this.plan.pages.length) return;
    const order = this.plan.pages.map((_, at) => at + 1);
    order.splice(to, 0, ...order.splice(from, 1));
    this.plan.pages.splice(to, 0, ...this.plan.pages.splice(from, 1));
    for (const one of this.plan.pictures) if (one.purpose !== "cover") one.page = order.indexOf(one.page) + 1;
    this.drawPages(to);
    this.drawPictures();
    this.changed();
  }

  drop(at) {
    this.plan.pages.splice(at, 1);
    for (const one of this.plan.pictures) if (one.page > at + 1 || one.page > this.plan.pages.length) one.page -= 1;
    this.drawPages();
    this.drawPictures();
    this.changed();
  }

  // pictures

  drawPictures() {
    refill(this.pictures, this.plan.pictures.length ? this.plan.pictures.map((one, at) => this.picture(one, at)) : h("p.soft", t("没有配图：只用排版的卡片，不花钱。", "No pictures: typeset cards only, free.")));
  }

  picture(one, at) {
    const place = h("select", { "aria-label": t("放在哪里", "Where"), onchange: (event) => { one.page = Number(event.target.value); one.purpose = one.page ? "page" : "cover"; this.changed(); } },
      h("option", { value: 0, selected: one.purpose === "cover" }, t("封面", "Cover")),
      this.plan.pages.map((_, n) => h("option", { value: n + 1, selected: one.purpose !== "cover" && one.page === n + 1 }, t(`第 ${n + 1} 页前`, `before page ${n + 1}`))));
    return h("article.leaf", h("div.side", place), h("textarea", { value: one.prompt, rows: 3, "aria-label": t("画什么", "What to paint"), oninput: (event) => { one.prompt = event.target.value; this.changed(); } }),
      h("div.side", signButton("trash", t("不要这张", "Not this one"), () => { this.plan.pictures.splice(at, 1); this.drawPictures(); this.changed(); })));
  }

  addPicture() {
    if (this.plan.pictures.length >= MOST_PICTURES) { toast(t(`一篇最多 ${MOST_PICTURES} 张配图。`, `A note takes ${MOST_PICTURES} pictures at most.`), "bad"); return; }
    const cover = !this.plan.pictures.some((one) => one.purpose === "cover");
    this.plan.pictures.push({ row: 0, purpose: cover ? "cover" : "page", prompt: "", page: cover ? 0 : 1, caption: "" });
    this.drawPictures();
    this.pictures.lastElementChild.querySelector("textarea").focus();
  }
}
