// What is posted: title, body, tags, held against the platform's limits as one types; the phone.

import { calm, h, icon, keyed, post, refill, t } from "./core.js";
import { arrows, copyButton, dialog, meter, signButton, titleLength } from "./parts.js";

export class Publish {
  /** `edit(path, body)` changes the note; all of it is free. */
  constructor(note, edit) {
    this.note = note;
    this.edit = edit;
    this.post = { ...note.post, tags: [...(note.post?.tags || [])] };
    this.findings = h("div.findings", { role: "status" });
    this.others = h("div");
    this.pictures = h("div");
    this.check = calm(() => this.ask(), 400);
    this.node = h("aside.publish", { "aria-label": t("发布用的文字", "Words to post") }, this.title(), this.body(), this.tags(), this.findings, this.pictures);
    this.show();
  }

  /** The note went on, here or in another browser: all of it is shown but what somebody is typing here. */
  take(note) {
    const before = this.note.post, now = note.post;
    this.note = note;
    this.show();
    if (!now || !before) return;
    for (const [name, input, shown] of this.fields) {
      if (now[name] === before[name] || (input === document.activeElement && input.value !== before[name])) continue;
      this.post[name] = input.value = now[name];
      shown();
    }
    if (String(now.tags) !== String(before.tags)) { this.post.tags = [...now.tags]; this.drawTags(); }
  }

  show() {
    const { note } = this;
    const others = note.titles.filter((one) => one.text !== note.post.title);
    keyed(this.others, JSON.stringify(others), others.length > 0 && h("details.others", h("summary", t(`另外 ${others.length} 个标题`, `${others.length} other titles`), icon("down")), h("ul", others.map((one) => h("li", h("button", { type: "button", onclick: () => this.edit("title", { title: one.text }) }, h("span", one.text), h("small.meter", `${one.length}/20`)))))));
    refill(this.pictures, h("p.soft", icon("image"), t(` ${note.check?.images.length ?? note.cards.length} / ${note.check?.images.most ?? 18} 张图`, ` ${note.check?.images.length ?? note.cards.length} of ${note.check?.images.most ?? 18} pictures`)),
      note.pictures.length > 0 && h("p.soft", t("配图由 AI 生成，发布时请勾选「笔记含 AI 合成内容」。", "Pictures were made by AI: declare it when you post.")));
    this.showFindings(note.check);
  }

  title() {
    const length = meter(h("small.meter"), titleLength(this.post.title), this.note.check?.title.most ?? 20);
    const input = h("input", { value: this.post.title, maxlength: 100, "aria-label": t("标题", "Title"), oninput: (event) => {
      this.post.title = event.target.value;
      meter(length, titleLength(this.post.title), this.note.check?.title.most ?? 20);
      this.check();
    }, onchange: (event) => { if (event.target.value.trim()) this.edit("title", { title: event.target.value.trim() }); } });
    this.fields = [["title", input, () => meter(length, titleLength(this.post.title), this.note.check?.title.most ?? 20)]];
    return h("section", h("div.heading", h("h2", t("标题", "Title")), length, copyButton(t("复制", "Copy"), () => this.post.title, t("复制标题", "Copy the title"))), input, this.others);
  }

  body() {
    const most = this.note.check?.body.most ?? 1000;
    const length = meter(h("small.meter"), this.post.body.length, most);
    const area = h("textarea", { value: this.post.body, rows: 10, "aria-label": t("正文", "Body"), oninput: (event) => {
      this.post.body = event.target.value;
      meter(length, this.post.body.length, most);
      this.check();
    }, onchange: () => this.edit("post", { body: this.post.body }) });
    this.fields.push(["body", area, () => meter(length, this.post.body.length, most)]);
    return h("section", h("div.heading", h("h2", t("正文", "Body")), length, copyButton(t("复制", "Copy"), () => this.post.body, t("复制正文", "Copy the body"))), area);
  }

  tags() {
    const most = this.note.check?.tags.most ?? 10;
    const length = meter(h("small.meter"), this.post.tags.length, most), list = h("div.tags");
    const put = () => { this.drawTags(); this.edit("post", { tags: this.post.tags }); };
    this.drawTags = () => {
      meter(length, this.post.tags.length, most);
      refill(list, this.post.tags.map((tag, at) => h("span.tag", `#${tag}`, h("button", { type: "button", "aria-label": t(`去掉 ${tag}`, `Remove ${tag}`), onclick: () => { this.post.tags.splice(at, 1); put(); } }, icon("close")))),
        h("input", { placeholder: t("加标签", "Add a tag"), "aria-label": t("加标签", "Add a tag"), size: 8, onkeydown: (event) => {
          const word = event.target.value.replace(/^[#＃\s]+|\s+$/g, "");
          if (event.key !== "Enter" || event.isComposing || !word) return;
          this.post.tags.push(word);
          put();
          list.querySelector("input").focus();
        } }));
    };
    this.drawTags();
    return h("section", h("div.heading", h("h2", t("标签", "Tags")), length, copyButton(t("复制", "Copy"), () => this.post.tags.map((tag) => `#${tag}`).join(" "), t("复制标签", "Copy the tags"))), list);
  }

  /** The limits, asked of the server: it has the one table. */
  async ask() {
    try { this.showFindings(await post("api/check", { ...this.post, images: this.note.cards.length })); } catch { /* the next letter asks again */ }
  }

  showFindings(check) {
    refill(this.findings, (check?.findings || []).map((one) => h("p.say", one.message, typeof one.proposal === "string" && one.proposal && h("button", { type: "button", onclick: () => this.edit(one.field === "title" ? "title" : "post", { [one.field]: one.proposal }) }, t("改成：", "Use: "), one.proposal.slice(0, 40)))));
  }
}

/** The note as a phone shows it. */
export function openPhone(note) {
  const rail = h("div.rail", { tabIndex: 0, role: "group", "aria-label": t("图片，左右滑动", "Pictures, swipe"), style: { "aspect-ratio": `${note.cards[0].width} / ${note.cards[0].height}` } },
    note.cards.map((card, at) => h("img", { src: card.n > 2 ? card.thumb : card.url, alt: t(`第 ${at + 1} 张`, `Picture ${at + 1}`), loading: at ? "lazy" : "eager", draggable: "false" })));
  const place = h("span.count", `1/${note.cards.length}`), dots = h("div.dots", note.cards.map((_, at) => h(`i${at ? "" : ".on"}`)));
  let at = 0;
  const go = (to) => rail.scrollTo({ left: Math.max(0, Math.min(note.cards.length - 1, to)) * rail.clientWidth, behavior: "smooth" });
  rail.addEventListener("scroll", () => {
    at = Math.round(rail.scrollLeft / rail.clientWidth);
    place.textContent = `${at + 1}/${note.cards.length}`;
    [...dots.children].forEach((dot, n) => dot.classList.toggle("on", n === at));
    const image = rail.children[at];
    if (image && image.src !== note.cards[at].url) image.src = note.cards[at].url;
  }, { passive: true });
  const box = dialog("phone", t("手机预览", "Phone preview"), (close) => [h("div.device",
    h("header", signButton("close", t("关闭", "Close"), close), h("span.avatar", { "aria-hidden": "true" }), h("b", note.settings?.author || t("小红薯", "you"))),
    h("div.screen", h("div.stage", rail, place), dots, h("h2", note.post.title), h("p.text", note.post.body), h("p.tagline", note.post.tags.map((tag) => `#${tag}`).join(" "))))]);
  arrows(box, (by) => go(at + by));
  return box;
}
