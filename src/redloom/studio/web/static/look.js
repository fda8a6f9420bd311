// Runs before the first paint: the colours and the language that were chosen last time.
"use strict";
(() => {
  const root = document.documentElement;
  let look = "auto", lang = "zh";
  try {
    look = localStorage.getItem("redloom.look") || look;
    lang = localStorage.getItem("redloom.lang") || lang;
  } catch { /* storage is off: the defaults do */ }
  root.dataset.look = look;
  root.lang = lang === "en" ? "en" : "zh-CN";
})();
