// One big box for the story; the settings are folded away.

import { calm, count, freshKey, get, h, icon, keep, kept, post, refill, session, sums, t, when } from "./core.js";
import { attempt, button, choice, estimateWords, field, toast } from "./parts.js";

const DRAFT = "redloom.draft", SETTINGS = "redloom.settings";

export const title = () => t("写笔记", "Write");

const fresh = () => ({ theme: "", ar: "3:4", pages: "", images: "", style: "", writer: "auto", title: "", author: "", endpoint: "", offline: false, consistent: false, budget: "" });

/** What the API is asked: settings that were left alone are left out. */
function asked(story, settings) {
  const body = { story };
  for (const name of ["theme", "ar", "style", "title", "author", "writer"]) if (settings[name]) body[name] = settings[name];
  for (const name of ["pages", "images", "budget"]) if (settings[name] !== "" && settings[name] !== null) body[name] = Number(settings[name]);
  if (settings.endpoint) body.endpoint = [settings.endpoint];
  if (settings.offline) body.offline = true;
  else if (settings.consistent) body.consistent = true;
  return body;
}

export async function show(main) {
  const settings = { ...fresh(), ...JSON.parse(kept(SETTINGS) || "{}"), title: "" };
  const page = new Page(settings);
  refill(main, page.node);
  page.fillIn();
  return () => page.gone.abort();
}

class Page {
  constructor(settings) {
    this.settings = settings;
    this.gone = new AbortController();
    this.key = freshKey();
    this.story = h("textarea.story", {
      id: "story", "aria-label": t("你的故事", "Your story"), value: kept(DRAFT) || "", spellcheck: "false",
      placeholder: t("把故事、日记、攻略贴进来，或者把 .txt / .md 拖到这里。\n\n不用排版，也不用想标题。", "Paste a story, a diary, a guide, or drop a .txt / .md here.\n\nNo layout needed, no title either."),
      oninput: () => this.changed(), onkeydown: (event) => { if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) this.make("all"); },
    });
    this.length = h("span.count");
    this.estimate = h("span.estimate", { "aria-live": "polite" });
    this.outline = button(t("先看大纲", "Outline first"), () => this.make("outline"), { sign: "text" });
    this.go = button(t("织成笔记", "Weave the note"), () => this.make("all"), { kind: "primary", sign: "play" });
    this.recent = h("section.recent", { hidden: true });
    this.think = calm(() => this.plan(), 700);
    this.node = h("div.page.write",
      h("header.hero", h("h1", t("一个故事，织成一篇笔记", "One story in, one note out")),
        h("p", t("标题、正文、标签、封面、内页和配图，一次做好。写和排版不花钱；配图先报价，一张只付一次。", "Title, body, tags, cover, pages and pictures at once. Writing and typesetting are free; pictures are priced first and each is paid for once."))),
      h("section.desk", { ondragover: (event) => event.preventDefault(), ondrop: (event) => this.dropped(event) },
        this.story,
        h("div.bar", h("label.file", h("input.aside", { type: "file", accept: ".txt,.md,.markdown,text/plain", onchange: (event) => this.read(event.target.files[0]) }), icon("file"), h("span", t("打开文件", "Open a file"))), this.length, this.estimate, h("div.acts", this.outline, this.go))),
      this.folded(), this.recent);
    this.changed(true);
  }

  /** The settings, closed until they are wanted. */
  folded() {
    const s = this.settings, save = () => { keep(SETTINGS, JSON.stringify({ ...s, title: "" })); this.summary.textContent = this.inWords(); this.think(); };
    const text = (name, props = {}) => h("input", { value: s[name], oninput: (event) => { s[name] = event.target.value; save(); }, ...props });
    this.summary = h("span.soft", this.inWords());
    this.themes = h("div.themes", { role: "radiogroup", "aria-label": t("主题", "Theme") });
    this.endpoints = h("select", { onchange: (event) => { s.endpoint = event.target.value; save(); } }, h("option", { value: "" }, t("默认端点", "Default endpoint")));
    const offline = h("label.switch", h("input", { type: "checkbox", checked: s.offline, onchange: (event) => { s.offline = event.target.checked; save(); } }), h("span", t("离线：不联网，不花钱，配图用本机排的画片", "Offline: no network, no money; pictures are drawn here")));
    const alike = h("label.switch", h("input", { type: "checkbox", checked: s.consistent, onchange: (event) => { s.consistent = event.target.checked; save(); } }), h("span", t("一个画风：先画封面，其余照着它画（模型要收参考图）", "One look: the cover first, the others after it (the model must take a reference)")));
    return h("details.settings", { ontoggle: (event) => { if (event.target.open) this.openThemes(); } },
      h("summary", h("b", t("设置", "Settings")), this.summary, icon("down")),
      h("h3", t("主题", "Theme")), this.themes,
      h("div.fields",
        field(t("比例", "Shape"), choice(t("比例", "Shape"), [["3:4", "3:4"], ["1:1", "1:1"], ["4:3", "4:3"]], s.ar, (value) => { s.ar = value; save(); })),
        field(t("内页", "Pages"), text("pages", { type: "number", min: 1, max: 17, placeholder: t("自动", "auto") })),
        field(t("配图", "Pictures"), text("images", { type: "number", min: 0, max: 9, placeholder: t("自动", "auto") })),
        field(t("花费上限", "Budget"), text("budget", { type: "number", min: 0, step: "0.1", placeholder: t("不限", "none") })),
        field(t("指定标题", "Title"), text("title", { maxlength: 60, placeholder: t("不填就起五个", "five are proposed") })),
        field(t("署名", "Author"), text("author", { maxlength: 30 })),
        field(t("配图风格", "Style of pictures"), h("select", { onchange: (event) => { s.style = event.target.value; save(); } },
          [["", t("自动", "auto")], ["photo", t("照片", "photo")], ["film", t("胶片", "film")], ["illustration", t("插画", "illustration")], ["watercolor", t("水彩", "watercolour")]].map(([v, w]) => h("option", { value: v, selected: v === s.style }, w)))),
        field(t("谁来写文字", "Who writes"), h("select", { onchange: (event) => { s.writer = event.target.value; save(); } },
          [["auto", t("自动", "auto")], ["local", t("本机（不联网，用你的原文）", "this machine (no network, your own words)")]].map(([v, w]) => h("option", { value: v, selected: v === s.writer }, w)))),
        field(t("画图端点", "Endpoint"), this.endpoints)),
      alike, offline);
  }

  inWords() {
    const s = this.settings;
    return [s.theme || t("默认主题", "default theme"), s.ar, s.pages ? t(`${s.pages} 页`, `${s.pages} pages`) : t("页数自动", "pages auto"), s.offline ? t("离线", "offline") : s.endpoint].filter(Boolean).join(" · ");
  }

  async openThemes() {
    if (this.themes.childElementCount) return;
    const { themes } = await get("api/themes").catch(() => ({ themes: [] }));
    refill(this.themes, themes.map((one) => themeTile(one, this.settings.theme, (name) => {
      this.settings.theme = name;
      keep(SETTINGS, JSON.stringify(this.settings));
      this.summary.textContent = this.inWords();
    })));
  }

  /** What comes from the server, after the first paint. */
  async fillIn() {
    const [notes, places] = await Promise.all([get("api/notes?limit=4").catch(() => ({ notes: [] })), get("api/endpoints").catch(() => ({ endpoints: [] }))]);
    fillEndpoints(this.endpoints, places, this.settings.endpoint);
    if (notes.notes.length) {
      refill(this.recent, h("div.heading", h("h2", t("最近", "Recent")), h("a", { href: "#/history" }, t("全部历史", "All of them"), icon("right"))), h("div.grid.covers", notes.notes.map(noteTile)));
      this.recent.hidden = false;
    }
  }

  changed(first = false) {
    const story = this.story.value;
    if (!first) { keep(DRAFT, story); this.key = freshKey(); }
    const most = session.limits?.story_characters || 200000;
    this.length.textContent = t(`${count(story.length)} 字`, `${count(story.length)} characters`);
    this.length.classList.toggle("over", story.length > most);
    const none = !story.trim();
    this.go.disabled = this.outline.disabled = none || story.length > most;
    if (none) this.estimate.textContent = ""; else this.think();
  }

  /** What it would become and cost; free, nothing is stored. */
  async plan() {
    const story = this.story.value.trim();
    if (!story || this.gone.signal.aborted) return;
    this.asking?.abort();
    this.asking = new AbortController();
    const { pages, images, title: own, style, author, endpoint } = asked(story, this.settings);
    try {
      const plan = await post("api/notes/plan", { story, pages, images, title: own, style, author, endpoint }, { signal: this.asking.signal });
      const money = this.settings.offline ? t("不花钱", "free") : estimateWords(plan.estimate);
      this.estimate.textContent = t(`${plan.cards} 张卡片 · ${plan.estimate?.pictures ?? 0} 张配图 · ${money}`, `${plan.cards} cards · ${plan.estimate?.pictures ?? 0} pictures · ${money}`);
    } catch (error) {
      if (error.name !== "AbortError") this.estimate.textContent = error.message;
    }
  }

  async make(step) {
    const story = this.story.value.trim();
    if (!story) { this.story.focus(); return; }
    const body = asked(story, this.settings);
    const made = await attempt(() => post("api/notes", { ...body, step }, { key: `${this.key}-${step}` }), step === "all" ? this.go : this.outline);
    if (!made) return;
    keep(DRAFT, null);
    location.hash = `#/note/${made.id}`;
  }

  dropped(event) {
    event.preventDefault();
    if (event.dataTransfer.files[0]) this.read(event.dataTransfer.files[0]);
  }

  /** A text file, whatever it was saved in: UTF-8, else GB18030. */
  async read(file) {
    if (!file) return;
    const bytes = await file.arrayBuffer();
    let text;
    try { text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { text = new TextDecoder("gb18030").decode(bytes); }
    if (text.includes("\0")) { toast(t("这不是文本文件。", "This is not a text file."), "bad"); return; }
    this.story.value = text;
    this.changed();
    this.story.focus();
    this.story.setSelectionRange(0, 0);
    this.story.scrollTop = 0;
  }
}

/** A theme by its sample; `pick(name)` when it is chosen. */
export function themeTile(one, chosen, pick) {
  return h("label.theme", h("input", { type: "radio", name: "theme", value: one.name, checked: one.name === chosen, onchange: () => pick(one.name) }),
    h("img", { src: one.cover, alt: "", loading: "lazy", decoding: "async", width: 120, height: 160 }), h("span", { title: one.description }, one.title));
}

/** A note by its cover. */
export function noteTile(note) {
  const cover = note.cover?.thumb || note.cover?.url;
  const words = { writing: t("在写", "writing"), outline: t("大纲待定", "outline"), painting: t("在画", "painting"), setting: t("在排版", "setting"), failed: t("没做成", "failed"), cancelled: t("已取消", "cancelled") }[note.state];
  return h("a.tile", { href: `#/note/${note.id}` },
    h("div.frame", cover ? h("img", { src: cover, alt: "", loading: "lazy", decoding: "async" }) : h("div.loom", { "aria-hidden": "true" }), words && h(`span.pill.${note.state === "failed" ? "bad" : "live"}`, words)),
    h("b", note.title || t("（还没有标题）", "(no title yet)")),
    h("small", [when(note.created), sums(note.money?.spent)].filter(Boolean).join(" · ")));
}

/** Options of a select of endpoints: what can be used, its price beside it. */
export function fillEndpoints(select, answer, chosen) {
  for (const one of answer.endpoints || []) {
    if (!one.ready || !one.in_use) continue;
    const price = one.free ? t("免费", "free") : one.price?.amount ? `${one.price.currency} ${one.price.amount}` : "";
    select.append(h("option", { value: one.name, selected: one.name === chosen }, [one.name, one.model !== one.name && one.model, price].filter(Boolean).join(" · ")));
  }
}
