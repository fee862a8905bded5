/*
 * The report's only script: filters, kept in the page's address, and opening of cases.
 * A classic script, because browsers refuse modules from the disk. Without it every case can still be read.
 *
 *   ?verdict=drift,error   show only these verdicts
 *   ?text=flower           show only cases whose name, prompt or reason holds the text
 *   #case-...              open that case
 */
"use strict";

(() => {
  const find = document.getElementById("find");
  if (!find) return; // an empty run has nothing to filter

  const cases = [...document.querySelectorAll("article.case")];
  const chips = [...document.querySelectorAll("button[data-verdict]")];
  const unfold = document.getElementById("unfold");
  const none = document.getElementById("none");
  const status = document.querySelector(".shown");
  const texts = new WeakMap();

  /** The searchable text of a case in lower case, read from the page once. */
  function textOf(article) {
    if (!texts.has(article)) {
      const parts = [...article.querySelectorAll("[data-search]")].map((part) => part.textContent);
      texts.set(article, parts.join("\n").toLowerCase());
    }
    return texts.get(article);
  }

  /** The verdicts that are switched on; empty means all. */
  function wanted() {
    return chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdict);
  }

  /** Show the cases that pass both filters and say how many they are. */
  function apply() {
    const verdicts = wanted();
    const text = find.value.trim().toLowerCase();
    let count = 0;
    for (const article of cases) {
      const passes = (!verdicts.length || verdicts.includes(article.dataset.verdict)) && textOf(article).includes(text);
      article.hidden = !passes;
      count += passes;
    }
    none.hidden = count > 0;
    status.textContent = count === cases.length ? "" : `${count} of ${cases.length} shown`;
  }

  /** Write the filters into the address, without a new entry in the history. */
  function remember() {
    const query = new URLSearchParams();
    if (wanted().length) query.set("verdict", wanted().join(","));
    if (find.value.trim()) query.set("text", find.value.trim());
    const search = query.toString();
    history.replaceState(null, "", `${location.pathname}${search && `?${search}`}${location.hash}`);
  }

  /** Read the filters from the address. */
  function recall() {
    const query = new URLSearchParams(location.search);
    const verdicts = (query.get("verdict") || "").split(",");
    for (const chip of chips) chip.setAttribute("aria-pressed", verdicts.includes(chip.dataset.verdict));
    find.value = query.get("text") || "";
    apply();
  }

  /** Open the case that the address names, even where a filter would hide it. */
  function openNamed() {
    const article = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!article || !article.matches("article.case")) return;
    article.hidden = false;
    article.querySelector("details").open = true;
    article.scrollIntoView();
  }

  function openAll(open) {
    for (const article of cases) article.querySelector("details").open = open;
    unfold.setAttribute("aria-pressed", open);
  }

  for (const chip of chips) {
    chip.disabled = false;
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      apply();
      remember();
    });
  }
  find.addEventListener("input", () => {
    apply();
    remember();
  });
  document.getElementById("clear").addEventListener("click", () => {
    for (const chip of chips) chip.setAttribute("aria-pressed", false);
    find.value = "";
    apply();
    remember();
    find.focus();
  });
  unfold.addEventListener("click", () => openAll(unfold.getAttribute("aria-pressed") !== "true"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== find) {
      event.preventDefault();
      find.focus();
    }
  });
  addEventListener("hashchange", openNamed);
  addEventListener("beforeprint", () => openAll(true)); // paper cannot be clicked

  find.parentElement.hidden = false;
  unfold.hidden = false;
  recall();
  openNamed();
})();
