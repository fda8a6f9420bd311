// A file of prompts (or a few typed ones) into a run: columns, a preview, the price, go.

import { api, calm, count, freshKey, get, h, icon, post, refill, session, t } from "./core.js";
import { attempt, button, choice, estimateWords, field, toast } from "./parts.js";
import { fillEndpoints } from "./write.js";

export const title = () => t("批量", "Batch");

export async function show(main) {
  const page = new BatchPage();
  refill(main, page.node);
  const places = await get("api/endpoints").catch(() => ({ endpoints: [] }));
  fillEndpoints(page.endpoint, places, "");
  fillEndpoints(page.fallback, { endpoints: (places.endpoints || []).filter((one) => one.name !== "cards") }, "");
}

const FIELDS = () => ({ prompt: t("提示词", "prompt"), id: t("编号", "id"), n: t("张数", "how many"), size: t("尺寸", "size"), seed: t("种子", "seed"), negative: t("不要什么", "negative"), model: t("模型", "model"), filename: t("文件名", "file name"), style: t("风格", "style"), ref: t("参考图", "reference"), folder: t("文件夹", "folder") });

class BatchPage {
  constructor() {
    this.upload = null;
    this.mapping = {};
    this.key = freshKey();
    this.options = { size: "3:4", n: "", budget: "", priority: "", format: "png", fresh: false, prefer: false };
    this.again = calm(() => this.preview(), 350);
    this.typed = h("textarea", { rows: 6, "aria-label": t("提示词，一行一条", "Prompts, one a line"), placeholder: t("或者直接写，一行一条：\n雨后的青石板路\n窗台上的猫", "Or type them, one a line:\na wet stone lane\na cat on the sill"), oninput: () => { this.key = freshKey(); this.drawGo(); } });
    this.picked = h("input.aside", { type: "file", accept: ".txt,.csv,.tsv,.xlsx,.json,.jsonl,.gz", onchange: (event) => this.send(event.target.files[0]) });
    this.drop = h("label.drop", { ondragover: (event) => { event.preventDefault(); this.drop.classList.add("over"); }, ondragleave: () => this.drop.classList.remove("over"), ondrop: (event) => { event.preventDefault(); this.drop.classList.remove("over"); this.send(event.dataTransfer.files[0]); } },
      this.picked, icon("batch"), h("b", t("把表格拖到这里，或点开选一个", "Drop a spreadsheet here, or click to choose one")), h("span.soft", t("txt、csv、tsv、xlsx、jsonl、json；GBK 也认", "txt, csv, tsv, xlsx, jsonl, json; GBK is understood")));
    this.table = h("section");
    this.go = button(t("开始", "Start"), () => this.begin(), { kind: "primary", sign: "play" });
    this.estimate = h("p.estimate", { "aria-live": "polite" });
    this.endpoint = h("select", { onchange: () => { this.key = freshKey(); this.again(); } }, h("option", { value: "" }, t("默认端点", "Default endpoint")));
    this.fallback = h("select", { onchange: () => { this.key = freshKey(); } }, h("option", { value: "" }, t("不改用别的", "nobody else")), h("option", { value: "cards" }, t("排版卡片（免费）", "a typeset card (free)")));
    this.node = h("div.page.batch", h("header.top", h("h1", t("批量出图", "Pictures in bulk")), h("p.soft", t("一行一张图；同样的图不会买两遍。", "A row is a picture; the same picture is never bought twice."))),
      h("div.split", h("section.left", this.drop, this.typed, this.table), h("aside.publish", this.settings(), this.estimate, h("div.acts", this.go))));
    this.drawGo();
  }

  settings() {
    const o = this.options, change = (name) => (event) => { o[name] = event.target.type === "checkbox" ? event.target.checked : event.target.value; this.key = freshKey(); this.again(); };
    const tick = (name, words) => h("label.switch", h("input", { type: "checkbox", onchange: change(name) }), h("span", words));
    return h("div", h("div.fields.one",
      field(t("端点", "Endpoint"), this.endpoint),
      field(t("比例", "Shape"), choice(t("比例", "Shape"), [["3:4", "3:4"], ["1:1", "1:1"], ["4:3", "4:3"], ["16:9", "16:9"]], o.size, (value) => { o.size = value; this.key = freshKey(); this.again(); })),
      field(t("每条几张", "Pictures of each"), h("input", { type: "number", min: 1, max: 100, placeholder: "1", oninput: change("n") })),
      field(t("花费上限", "Budget"), h("input", { type: "number", min: 0, step: "0.1", placeholder: t("不限", "none"), oninput: change("budget") }), t("到了就停，不会多花", "stops there, spends no more")),
      field(t("做不成时改用", "If it cannot be made"), this.fallback),
      field(t("格式", "Format"), h("select", { onchange: change("format") }, ["png", "jpg", "webp"].map((one) => h("option", { value: one }, one))))),
    tick("fresh", t("有过的也重新画（要花钱）", "Draw anew even what the store has (costs)")), tick("prefer", t("多用留用率高的端点", "Prefer endpoints whose pictures were kept")));
  }

  async send(file) {
    if (!file) return;
    const most = session.limits?.upload_bytes;
    if (most && file.size > most) { toast(t(`文件太大，最多 ${Math.floor(most / 1048576)} MB。`, `The file is too large; ${Math.floor(most / 1048576)} MB at most.`), "bad"); return; }
    const form = new FormData();
    form.append("file", file);
    this.drop.setAttribute("aria-busy", "true");
    const told = await attempt(() => api("POST", "api/uploads", form));
    this.drop.removeAttribute("aria-busy");
    this.picked.value = "";
    if (!told) return;
    this.upload = told;
    this.key = freshKey();
    this.mapping = Object.fromEntries(told.columns.map((one) => [one.name, one.field]));
    this.typed.hidden = true;
    this.draw(told);
  }

  asked() {
    const o = this.options, body = { size: o.size };
    for (const name of ["n", "budget"]) if (o[name] !== "") body[name] = Number(o[name]);
    if (this.endpoint.value) body.endpoint = [this.endpoint.value];
    return body;
  }

  async preview() {
    if (!this.upload) return;
    const told = await attempt(() => post(`api/uploads/${this.upload.upload}/preview`, { mapping: this.mapping, ...this.asked() }));
    if (told) this.draw({ ...this.upload, ...told });
  }

  draw(told) {
    this.told = told;
    const extra = [...new Set(told.rows.flatMap((row) => Object.keys(row.extra || {})))].slice(0, 4);
    refill(this.table,
      h("div.heading", h("h2", told.name), h("small.soft", t(`${count(told.total)} 行`, `${count(told.total)} rows`)), button(t("换一个", "Another"), () => this.forget(), { sign: "close" })),
      told.columns.length > 0 && this.columns(told),
      told.invalid > 0 && h("p.say", t(`${count(told.invalid)} 行用不了，会记成「有误」，不花钱。`, `${count(told.invalid)} rows cannot be used; they are recorded as invalid and cost nothing.`)),
      h("h3", t(`前 ${told.rows.length} 行`, `The first ${told.rows.length} rows`)),
      h("div.scroll", h("table.preview", h("thead", h("tr", ["#", t("提示词", "Prompt"), t("编号", "Id"), t("张", "n"), t("尺寸", "Size"), ...extra].map((word) => h("th", word)))),
        h("tbody", told.rows.map((row) => h(`tr${row.problem ? ".bad" : ""}`, h("td.number", row.row), h("td.long", row.problem ? h("em.bad", row.problem) : row.prompt), h("td", row.id), h("td.number", row.n), h("td", String(row.size || "")), extra.map((name) => h("td", String(row.extra?.[name] ?? "")))))))));
    this.drawGo();
  }

  /** Which column is what. */
  columns(told) {
    const names = FIELDS();
    return h("div.columns", h("h3", t("哪一列是什么", "Which column is what")), h("div.fields", told.columns.map((one) => field(one.name, h("select", { onchange: (event) => { this.mapping[one.name] = event.target.value || null; this.key = freshKey(); this.again(); } },
      h("option", { value: "" }, t(`原样带走（{${one.name}} 可用在提示词里）`, `carried along ({${one.name}} works in prompts)`)), told.fields.map((name) => h("option", { value: name, selected: this.mapping[one.name] === name }, names[name] || name)))))));
  }

  forget() {
    this.upload = this.told = null;
    this.typed.hidden = false;
    this.table.replaceChildren();
    this.drawGo();
  }

  lines() { return this.typed.value.split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#")); }

  drawGo() {
    const lines = this.upload ? 0 : this.lines().length;
    const told = this.told;
    this.go.disabled = !told && !lines;
    const pictures = told ? told.pictures : lines * Number(this.options.n || 1);
    refill(this.estimate, pictures > 0 && [h("b", t(`${count(pictures)} 张`, `${count(pictures)} pictures`)), told ? ` · ${estimateWords(told.estimate)}` : ""]);
  }

  async begin() {
    const o = this.options, body = { ...this.asked(), format: o.format, fresh: o.fresh, prefer: o.prefer ? "kept" : "", fallback: this.fallback.value ? [this.fallback.value] : [] };
    if (this.upload) Object.assign(body, { upload: this.upload.upload, mapping: this.mapping, name: this.upload.name }); else Object.assign(body, { prompts: this.lines(), name: this.lines()[0].slice(0, 30) });
    const run = await attempt(() => post("api/runs", body, { key: this.key }), this.go);
    if (run) location.hash = `#/run/${run.id}`;
  }
}
