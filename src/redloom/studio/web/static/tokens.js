// Tokens for other people and programs: made with a quota and a budget, shown once, revoked.

import { amount, api, get, h, icon, post, refill, t, when } from "./core.js";
import { attempt, button, copyButton, field, pill, sure } from "./parts.js";

/** The section; only an admin is shown it. */
export function tokens() {
  const list = h("div.scroll"), shown = h("div", { role: "status" });
  const draw = async () => drawList(list, (await get("api/tokens")).tokens, draw);
  draw().catch((error) => refill(list, h("p.soft", error.message)));
  return h("section.panel.tokens", { id: "tokens" },
    h("div.heading", h("h2", t("给别人和程序的口令", "Tokens for others and for programs")), h("small.soft", t("各有限额和预算，只看得到自己的东西", "each with its quota and budget; it sees only its own"))),
    shown, makeForm(shown, draw), list);
}

function makeForm(shown, done) {
  const text = (name, props) => h("input", { name, autocomplete: "off", ...props });
  const name = text("name", { required: true, pattern: "[\\w.\\-]{1,60}", maxlength: 60, placeholder: "shop", spellcheck: false });
  const rate = text("per_minute", { type: "number", min: 0.1, step: "any", placeholder: t("不限", "no limit") });
  const budget = text("budget", { type: "number", min: 0, step: "any", placeholder: t("不限", "no limit") });
  const currency = h("select", { name: "currency", "aria-label": t("币种", "Currency") }, ["CNY", "USD"].map((code) => h("option", { value: code }, code)));
  const make = h("button.primary", { type: "submit" }, icon("plus"), h("span", t("发一个口令", "Make a token")));
  return h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const body = { name: name.value, currency: currency.value };
    if (rate.value) body.per_minute = Number(rate.value);
    if (budget.value) body.budget = Number(budget.value);
    const made = await attempt(() => post("api/tokens", body), make);
    if (!made) return;
    event.target.reset();
    refill(shown, once(made, () => refill(shown)));
    await done();
  } },
  h("div.fields", field(t("名字", "Name"), name, t("字母、数字和 . _ -", "letters, digits, . _ -")), field(t("每分钟几张", "Pictures a minute"), rate), field(t("预算", "Budget"), budget), field(t("币种", "Currency"), currency)),
  h("div.acts", make));
}

/** The token itself: the server keeps only its digest, so it is seen here and never again. */
function once(made, close) {
  return h("div.say.token", h("p", t(`“${made.name}”的口令，只显示这一次，请现在抄走：`, `The token of “${made.name}”, shown this once; copy it now:`)),
    h("p", h("code", made.token)), h("div.acts", copyButton(t("复制", "Copy"), () => made.token), button(t("抄好了", "I have it"), close)));
}

function drawList(node, found, done) {
  if (!found.length) { refill(node, h("p.soft", t("还没有。发出的口令可以当 OpenAI 的 api_key 用。", "None yet. A token serves as the api_key of OpenAI's clients."))); return; }
  const heads = [t("名字", "Name"), t("每分钟", "A minute"), t("花了 / 预算", "Spent / budget"), t("发于", "Made"), ""];
  refill(node, h("table", h("thead", h("tr", heads.map((word) => h("th", word)))), h("tbody", found.map((one) => line(one, done)))));
}

function line(one, done) {
  const revoke = button(t("停用", "Revoke"), async (event) => {
    const from = event.currentTarget;
    if (!await sure(t(`停用“${one.name}”？`, `Revoke “${one.name}”?`), t("用它的人和程序马上进不来；做好的图都在。", "Whoever uses it is shut out at once; what was made stays."), t("停用它", "Revoke it"), "danger")) return;
    await attempt(async () => { await api("DELETE", `api/tokens/${encodeURIComponent(one.name)}`); await done(); }, from);
  }, { "aria-label": t(`停用 ${one.name}`, `Revoke ${one.name}`) });
  const money = `${amount(one.spent, one.currency)} / ${one.budget === null ? t("不限", "no limit") : amount(one.budget, one.currency)}`;
  return h("tr", { data: { token: one.name } }, h("td", one.name), h("td.number", one.per_minute ?? t("不限", "no limit")), h("td.number", money, one.reserved ? h("small.soft", t(`，占着 ${amount(one.reserved, one.currency)}`, `, ${amount(one.reserved, one.currency)} reserved`)) : null), h("td", when(one.created)),
    h("td", one.revoked ? pill(["idle", t("已停用", "revoked")]) : revoke));
}
