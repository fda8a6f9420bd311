// One note: 大纲 → 封面 → 内页 → 结果. What is shown follows its state; events keep it fresh.

import { amount, api, get, h, icon, keyed, left, listen, post, refill, sums, t, when } from "./core.js";
import { attempt, button, empty, isGood, maybeWords, signButton, skeleton, stateWords, sure, toast } from "./parts.js";
import { Outline } from "./outline.js";
import { openCard } from "./card.js";
import { openPhone, Publish } from "./publish.js";
import { themeTile } from "./write.js";

export const title = () => t("笔记", "Note");

export async function show(main, [id]) {
  const note = await get(`api/notes/${encodeURIComponent(id)}`);
  const page = new NotePage(main, note);
  page.start();
  return () => page.end();
}

const BUSY = new Set(["writing", "painting", "setting"]);

class NotePage {
  constructor(main, note) {
    this.note = note;
    this.held = 0;
    this.told = h("div");
    this.acts = h("div.acts");
    this.head = h("header.top.note", this.told, this.acts);
    this.steps = h("ol.steps");
    this.line = h("p.offline", { hidden: true, role: "status" }, t("和服务器断开了，正在重连；做好的都在。", "The line to the server is broken; reconnecting. What is done is safe."));
    this.body = h("div.body");
    refill(main, h("div.page.notepage", this.head, this.steps, this.line, this.body));
  }

  start() {
    this.draw();
    this.events = listen(`api/notes/${this.note.id}/events`, (name, data) => this.hear(name, data), (open) => { this.line.hidden = open; });
    this.clock = setInterval(() => this.drawHeld(), 1000);
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
  }

  end() {
    this.events?.close();
    clearInterval(this.clock);
    document.removeEventListener("keydown", this.keys);
  }

  // what is heard

  async hear(name, data) {
    if (name === "picture") this.painted(data);
    else if (name === "held") this.held = data.until;
    else if (name === "money") this.note.money = data.money;
    else if ((name === "note" || name === "snapshot") && data.note) { await this.moved(data.note); return; }
    if (BUSY.has(this.note.state)) { this.drawHead(); this.drawSteps(); this.drawTiles(); }
  }

  /** The note went on: its head was told, the rest is fetched. */
  async moved(now) {
    const before = this.note;
    this.note = { ...before, ...now };
    this.hold();
    if (now.state === "removed") this.gone();
    else if (now.state !== before.state || now.updated !== before.updated || now.run !== before.run) await this.refresh();
    else if (now.pictures) this.drawTiles();
  }

  /** A picture is further than it was; of a card that is redone the cards tell when it is there. */
  painted({ picture, card }) {
    if (card) { this.redone = picture; this.drawHeld(); return; }
    const at = this.note.pictures.findIndex((one) => one.row === picture.row);
    if (at < 0) this.note.pictures.push(picture); else this.note.pictures[at] = picture;
  }

  hold() { for (const one of this.note.held || []) this.held = Math.max(this.held || 0, one.until); }

  /** The whole note anew; events bring only its head. */
  async refresh() {
    try { this.take(await get(`api/notes/${this.note.id}`)); } catch (error) { if (error.status === 404) this.gone(); else if (error.status !== 0) toast(error.message, "bad"); }
  }

  /** Somebody took the note out of the history while it was open here. */
  gone() {
    if (this.leaving) return;
    this.end();
    for (const box of document.querySelectorAll("dialog[open]")) box.close();
    refill(this.head, h("div", h("h1", this.note.title || t("新笔记", "New note"))));
    this.steps.hidden = this.line.hidden = true;
    refill(this.body, empty(t("这篇笔记被移走了", "This note was removed"), t("有人把它从历史里移走了。文件还在工作区的 removed 文件夹里。", "Somebody took it out of the history. Its files are in the workspace, under removed/."), h("a.button.primary", { href: "#/history" }, t("去历史", "To the history"))));
  }

  take(note) {
    if (!note) return;
    this.note = note;
    this.redone = null;
    this.hold();
    this.draw();
  }

  // what is drawn

  draw() {
    const { state } = this.note;
    this.drawHead();
    this.drawSteps();
    if (state === "outline") this.drawOutline();
    else if (state === "failed" || (state === "cancelled" && !this.note.cards.length)) this.drawFailed();
    else if (state === "writing" && !this.note.cards.length) this.drawWriting();
    else if (BUSY.has(state) && !this.note.cards.length) this.drawPainting();
    else this.drawDone();
  }

  drawHead() {
    const { note } = this, done = note.cards.length > 0;
    const facts = [when(note.created), note.cards.length && t(`${note.cards.length} 张`, `${note.cards.length} cards`), sums(note.money?.spent) || t("没花钱", "nothing spent"), maybeWords(note.money, BUSY.has(note.state))].filter(Boolean);
    refill(this.told, h("h1", note.title || t("新笔记", "New note")), h("p.soft", facts.join(" · ")));
    keyed(this.acts, `${BUSY.has(note.state)} ${done} ${note.urls.zip}`,
      BUSY.has(note.state) && button(t("停下", "Stop"), (event) => this.cancel(event.currentTarget), { sign: "stop" }),
      done && button(t("手机预览", "Phone"), () => openPhone(this.note), { sign: "phone" }),
      done && h("a.button.primary", { href: note.urls.zip, download: "" }, icon("download"), h("span", "ZIP")),
      done && h("a.button", { href: note.urls.zip.replace("export.zip", "export.json"), download: `${note.id}.json`, title: t("标题、正文、标签和图片，给别的程序", "Title, body, tags and pictures, for programs") }, "JSON"),
      signButton("trash", t("从历史里移走", "Remove from the history"), () => this.remove()));
  }

  drawSteps() {
    const { note } = this;
    const words = [t("大纲", "Outline"), t("封面", "Cover"), t("内页", "Pages"), t("结果", "Result")];
    const painted = note.pictures.filter((one) => one.status !== "pending").length;
    const at = { writing: 0, outline: 0, painting: painted ? 2 : 1, setting: 2, done: 4, failed: -1, cancelled: -1 }[note.state];
    refill(this.steps, words.map((word, n) => h(`li${n < at ? ".past" : n === at ? ".now" : ""}`, { "aria-current": n === at ? "step" : null }, h("span", word))));
    this.steps.hidden = at < 0;
  }

  drawWriting() {
    refill(this.body, h("p.lead", { role: "status" }, h("span.pulse"), this.note.stage?.text || t("在写标题和正文", "Writing")), h("div.grid.cards", skeleton(6)));
  }

  drawOutline() {
    if (this.outline && this.body.contains(this.outline.node)) return; // edits in hand are not drawn over
    this.outline = new Outline(this.note, {
      save: (outline) => api("PUT", `api/notes/${this.note.id}/outline`, outline),
      make: async (outline) => {
        await api("PUT", `api/notes/${this.note.id}/outline`, outline);
        this.outline = null;
        this.body.replaceChildren();
        this.take(await post(`api/notes/${this.note.id}/make`));
      },
    });
    refill(this.body, this.outline.node);
  }

  /** The live cards: a tile for each picture that is being made. */
  drawPainting() {
    this.tiles = h("div.grid.cards");
    this.said = h("p.lead", { role: "status", "aria-live": "polite" });
    refill(this.body, this.said, this.tiles);
    this.drawTiles();
  }

  drawTiles() {
    if (!this.tiles || !this.body.contains(this.tiles)) return;
    const { note } = this, pictures = note.pictures;
    const planned = (note.outline?.pictures || []).map((one) => ({ ...one, status: "pending", stage: "waiting" }));
    const shown = pictures.length ? pictures : planned;
    if (!shown.length || this.tiles.childElementCount !== shown.length) refill(this.tiles, shown.length ? shown.map((one, n) => this.tile(one, n)) : skeleton(6));
    shown.forEach((one, n) => { // only what changed is drawn anew, so that nothing flickers
      const next = this.tile(one, n), old = this.tiles.children[n];
      if (old.dataset.looks !== next.dataset.looks) old.replaceWith(next);
    });
    this.drawHeld();
  }

  tile(one, n) {
    const stage = one.status === "pending" ? one.stage || "waiting" : null;
    const good = isGood(one.status);
    return h(`figure.picture${good ? "" : one.status === "pending" ? `.${stage}` : ".bad"}`, { data: { status: one.status, looks: [one.status, stage, one.thumb, one.error, one.price].join("|") } },
      h("div.frame", good && one.thumb ? h("img", { src: one.thumb, alt: one.prompt, decoding: "async" }) : one.status === "pending" ? h("div.loom", { "aria-hidden": "true" }) : h("p", one.error)),
      h("figcaption", h("b", n === 0 ? t("封面", "Cover") : t(`配图 ${n}`, `Picture ${n}`)), h("span", stateWords(one.status, stage)), one.price ? h("span.soft", amount(one.price, one.currency)) : null),
      h("p.words", one.prompt));
  }

  /** The stage in words, with the quota's countdown. */
  drawHeld() {
    if (!this.said?.isConnected && !this.busyLine?.isConnected) return;
    const wait = left(this.held), redone = this.redone?.status === "pending" && stateWords("pending", this.redone.stage);
    const done = this.note.pictures.filter((one) => one.status !== "pending").length, all = this.note.pictures.length;
    const text = [this.note.stage?.text, redone || (all && t(`${done} / ${all} 张`, `${done} of ${all}`)), wait > 0 && t(`等配额，还有 ${wait} 秒`, `waiting for quota, ${wait} s`)].filter(Boolean).join(" · ");
    const target = this.said?.isConnected ? this.said : this.busyLine;
    if (target.dataset.text !== text) { target.dataset.text = text; refill(target, h("span.pulse"), text); }
  }

  drawFailed() {
    const { note } = this, error = note.error;
    const cancelled = note.state === "cancelled";
    refill(this.body, h("section.empty.bad", { role: "alert" }, icon("warn"), h("h2", cancelled ? t("已经停下", "Stopped") : t("这次没有做成", "It did not work out this time")),
      h("p", error?.message || t("付过钱的图都留着，接着做不会再买一遍。", "Pictures that were paid for are kept; going on does not buy them again.")),
      h("div.acts", button(t("接着做", "Go on"), (event) => attempt(async () => this.take(await post(`api/notes/${note.id}/make`)), event.currentTarget), { kind: "primary", sign: "redo" }))),
    note.pictures.length > 0 && h("div.grid.cards", note.pictures.map((one, n) => this.tile(one, n))));
  }

  drawDone() {
    const { note } = this;
    const busy = BUSY.has(note.state);
    this.busyLine = busy ? h("p.lead", { role: "status" }, h("span.pulse"), note.stage?.text) : null;
    if (this.publish) this.publish.take(note); // words in hand are not drawn over
    else this.publish = new Publish(note, (path, body) => this.edit(path, body));
    this.cards = h("div.grid.cards");
    refill(this.cards, note.cards.map((card) => this.card(card)));
    const warnings = note.warnings?.length > 0 && h("div.say", { role: "note" }, note.warnings.map((text) => h("p", text)));
    if (note.error) refill(this.cards, h("p.say.bad", { role: "alert" }, note.error.message), note.cards.map((card) => this.card(card)));
    if (!this.split || !this.body.contains(this.split)) {
      this.left = h("section.left");
      this.split = h("div.split", this.left, this.publish.node);
      refill(this.body, this.split);
    }
    refill(this.left, this.busyLine, warnings, this.cards, this.dress ??= this.restyle());
    if (busy) this.drawHeld();
  }

  card(card) {
    const name = card.kind === "cover" ? t("封面", "Cover") : t(`第 ${card.n} 张`, `Card ${card.n}`);
    return h("button.card", { type: "button", data: { card: card.n }, "aria-label": t(`${name}：打开、改字、重画`, `${name}: open, edit, redraw`), onclick: () => this.open(card.n) },
      h("span.frame", { style: { "aspect-ratio": `${card.width} / ${card.height}` } }, h("img", { src: card.thumb, alt: "", loading: card.n > 4 ? "lazy" : "eager", decoding: "async" })),
      h("span.name", h("b", name), icon(card.picture ? "image" : "text")));
  }

  open(n) {
    openCard({ note: () => this.note, n, edit: (path, body) => this.edit(path, body), opinion: (body) => api("PUT", "api/feedback", body) });
  }

  /** Any edit; the answer is the note. Returns whether it worked. */
  async edit(path, body) {
    const note = await attempt(() => post(`api/notes/${this.note.id}/${path}`, body));
    if (note) this.take(note);
    return Boolean(note);
  }

  /** Another theme for everything; free. */
  restyle() {
    const list = h("div.themes", { role: "radiogroup", "aria-label": t("主题", "Theme") });
    return h("details.settings.restyle", { ontoggle: async (event) => {
      if (!event.target.open || list.childElementCount) return;
      const { themes } = await get("api/themes").catch(() => ({ themes: [] }));
      refill(list, themes.map((one) => themeTile(one, this.note.settings.theme, (name) => this.wear(name))));
    } }, h("summary", icon("brush"), h("b", t("换一身主题", "Another theme")), h("span.soft", t("全部重排，不花钱，图不变", "everything set anew, free, pictures stay")), icon("down")), list);
  }

  async wear(theme) {
    this.cards.setAttribute("aria-busy", "true");
    await this.edit("theme", { theme });
    this.cards.removeAttribute("aria-busy");
  }

  async cancel(from) {
    await attempt(async () => this.take(await post(`api/notes/${this.note.id}/cancel`)), from);
  }

  async remove() {
    const yes = await sure(t("从历史里移走这篇？", "Remove this note from the history?"), t("文件不会马上删掉，会留在工作区的 removed 文件夹里。", "Its files are kept in the workspace, under removed/."), t("移走", "Remove"), "danger");
    if (!yes) return;
    this.leaving = true;
    const gone = await attempt(async () => { await api("DELETE", `api/notes/${this.note.id}`); return true; });
    this.leaving = false;
    if (gone) location.hash = "#/history";
  }

  key(event) {
    if (document.querySelector("dialog[open]") || event.target.matches("input,textarea,select")) return;
    if (event.key === "p" && this.note.cards.length) openPhone(this.note);
  }
}
